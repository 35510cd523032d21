// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEJSON
import MoEJinja
import MoETestSupport
import Testing

/// A file of templates with what Jinja2 makes of them: `Tools/templates/fuzz.py`, `Tools/golden/make_template_fixtures.py`.
struct TemplateCases {
    struct Case {
        let template: String
        /// nil: Jinja2 refuses it.
        let output: String?
        let problem: String?
    }

    let variables: JinjaObject
    let cases: [Case]

    init(_ url: URL) throws {
        let document = try JSONDocument([UInt8](Data(contentsOf: url)))
        guard
            case .object(let variables) = JinjaValue(
                try #require(document.member("variables", of: document.root)), of: document)
        else { throw CocoaError(.fileReadCorruptFile) }
        self.variables = variables
        cases = try #require(document.array(document.member("cases", of: document.root))).map { item in
            Case(
                template: try #require(document.string(document.member("template", of: item))),
                output: document.string(document.member("output", of: item)),
                problem: document.string(document.member("error", of: item)))
        }
    }

    /// The time that Tools/templates/oracle.py shows.
    static let clock: JinjaClock = {
        JinjaDate(year: 2026, month: 2, day: 3, hour: 4, minute: 5, second: 6, microsecond: 7)
    }

    /// What is wrong with our answer; nil: the texts are the same, byte for byte, or both refuse.
    static func difference(_ item: Case, _ variables: JinjaObject) -> String? {
        do throws(JinjaError) {
            let text = try JinjaTemplate(item.template).render(variables, clock: clock)
            guard let output = item.output else {
                return "\(item.template.debugDescription): \(text.debugDescription), but Jinja2 says \(item.problem ?? "")"
            }
            return text.utf8.elementsEqual(output.utf8)
                ? nil : "\(item.template.debugDescription): \(text.debugDescription), not \(output.debugDescription)"
        } catch {
            // Python's integers have no end.
            if item.output == nil || error.problem.contains("beyond 64 bits") { return nil }
            return "\(item.template.debugDescription): \(error), not \((item.output ?? "").debugDescription)"
        }
    }
}

/// Prevents: a template that says something else than in Python.
@Suite struct TemplateCasesTests {
    @Test func features() throws {
        let file = try TemplateCases(Fixtures.directory.appendingPathComponent("templates/features.json"))
        for item in file.cases {
            let difference = TemplateCases.difference(item, file.variables)
            #expect(difference == nil)
        }
        #expect(file.cases.count > 250)
    }

    /// `make test-templates` writes the files.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["MOE_TEST_TEMPLATES"] != nil, "make test-templates runs this"))
    func randomTemplates() throws {
        let folder = Fixtures.root.appendingPathComponent(".cache/templates")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix("fuzz") }
            .sorted()
        #expect(!files.isEmpty)
        for name in files {
            let file = try TemplateCases(folder.appendingPathComponent(name))
            var differences: [String] = []
            for item in file.cases {
                if let difference = TemplateCases.difference(item, file.variables) { differences.append(difference) }
            }
            print("\(name): \(file.cases.count) templates, \(differences.count) differ from Jinja2")
            #expect(differences.isEmpty, "\(differences.prefix(10).joined(separator: "\n"))")
        }
    }
}
