// SPDX-License-Identifier: Apache-2.0

/// Tensors by name: what a model file is to everything above this module.
package protocol WeightStore: Sendable {
    /// The file or folder, for error messages.
    var source: String { get }
    /// In file order.
    var tensorNames: [String] { get }
    /// nil when there is no such tensor, or when it cannot be read: then ``problem(with:)`` says why.
    func tensor(named name: String) -> TensorView?
    /// Why a tensor that is in the file cannot be read: an element type that is unknown here, data out of place. nil when it
    /// can be read, or is not there.
    func problem(with name: String) -> ModelFileError?
    /// Bytes of all tensors.
    var tensorBytes: Int { get }
}

extension WeightStore {
    package func problem(with name: String) -> ModelFileError? { nil }

    /// The tensor, which must have exactly this shape.
    package func tensor(named name: String, shape: Shape) throws(ModelFileError) -> TensorView {
        guard let view = tensor(named: name) else {
            throw problem(with: name)
                ?? ModelFileError(
                    file: source, tensor: name, problem: "missing tensor", expected: "\(shape)", found: "nothing")
        }
        guard view.shape == shape else {
            throw ModelFileError(
                file: source, tensor: name, problem: "wrong shape", expected: "\(shape)", found: "\(view.shape)")
        }
        return view
    }
}
