// SPDX-License-Identifier: Apache-2.0

/// The markers that end a run of text, and what each one means. Of two that could stand at a place, the longer one does.
struct MarkerTable: Sendable {
    enum Action: Sendable, Equatable {
        case openReasoning
        case closeReasoning
        /// The marker says nothing that a reader wants to know.
        case drop
        /// A call in the format's syntax of this index. The reader begins at the marker.
        case call(syntax: Int)
    }

    /// Where in an answer a marker means something; elsewhere it is text.
    enum Place: Sendable, Equatable {
        case anywhere
        /// Where nothing but white space came before it since the answer or the last block began.
        case blockStart
        /// Where nothing but white space came before it in the whole answer.
        case answerStart
    }

    struct Marker: Sendable {
        let bytes: [UInt8]
        let action: Action
        var place = Place.anywhere

        init(_ text: String, _ action: Action, _ place: Place = .anywhere) {
            (bytes, self.action, self.place) = (Array(text.utf8), action, place)
        }
    }

    let markers: [Marker]
    /// For each byte: whether a marker begins with it.
    private let begins: [Bool]

    init(_ markers: [Marker]) {
        self.markers = markers.sorted { $0.bytes.count > $1.bytes.count }
        var begins = [Bool](repeating: false, count: 256)
        for marker in markers { begins[Int(marker.bytes[0])] = true }
        self.begins = begins
    }

    enum Found { case marker(Marker), none, undecided }

    /// What begins at `index`.
    func find(in window: borrowing TextWindow, at index: Int, blockStart: Bool, answerStart: Bool) -> Found {
        guard begins[Int(window.bytes[index])] else { return .none }
        var undecided = false
        for marker in markers {
            switch marker.place {
            case .anywhere: break
            case .blockStart: if !blockStart { continue }
            case .answerStart: if !answerStart { continue }
            }
            switch window.match(marker.bytes, at: index) {
            case .yes: return undecided ? .undecided : .marker(marker)
            case .undecided: undecided = true
            case .no: break
            }
        }
        return undecided ? .undecided : .none
    }
}
