// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import Logging
import MoEInfer

@main
struct MoEInferCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "moe-infer",
        abstract: "Mixture-of-experts language models on CPUs, with as many experts per token as the token is worth.",
        discussion: """
            Without --model the embedded model is used. --model takes a GGUF file or a Hugging Face folder.

            EXAMPLES
              moe-infer generate "Once upon a time" --max-tokens 64
              moe-infer chat --model olmoe.gguf
              moe-infer generate --model olmoe.gguf --routing top-p:p=0.7,min=1,max=8 "The capital of France is"
              moe-infer bench --model olmoe.gguf --routing static:k=4 --json
              moe-infer inspect --model olmoe.gguf
              moe-infer doctor

            EXIT CODES
              0 done, 1 failed (one line says why), 64 usage, 130 interrupted
            """,
        version: LLM.engineVersion,
        subcommands: serverCommands + [
            GenerateCommand.self, ChatCommand.self, TokenizeCommand.self, LogitsCommand.self, PerplexityCommand.self,
            BenchCommand.self,
            RouteCommand.self, CalibrateCommand.self, ProfileCommand.self, CompareCommand.self,
            CertifyCommand.self, VerifyCommand.self, InspectCommand.self, DoctorCommand.self,
        ])

    private static var serverCommands: [any ParsableCommand.Type] {
        #if Server
            [ServeCommand.self, KeyCommand.self]
        #else
            []
        #endif
    }

    /// Errors that are the user's to mend leave one line and exit 1; usage errors are the parser's (64).
    static func main() async {
        Interrupts.install()
        LoggingSystem.bootstrap { _ in TerminalLog() }
        do {
            try checkArguments()
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let error where isForTheParser(error) {
            exit(withError: error)
        } catch is CancellationError {
            Terminal.finishLine()
            Glibc.exit(130)
        } catch {
            Terminal.finishLine()
            Terminal.error("error: \(Terminal.oneLine(String(describing: error)))")
            Glibc.exit(error is any UsageError ? 64 : 1)
        }
    }

    /// Swift repairs arguments that are not UTF-8; a prompt must not be changed silently.
    private static func checkArguments() throws {
        for index in 0..<Int(CommandLine.argc) {
            guard let argument = CommandLine.unsafeArgv[index] else { continue }
            if String(validatingCString: argument) == nil {
                throw InputError(description: "argument \(index) is not valid UTF-8")
            }
        }
    }

    private static func isForTheParser(_ error: any Error) -> Bool {
        error is CleanExit || error is ValidationError || error is ExitCode || exitCode(for: error) != .failure
    }
}
