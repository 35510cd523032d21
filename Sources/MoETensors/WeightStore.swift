// SPDX-License-Identifier: Apache-2.0

/// Tensors by name: what a model file is to everything above this module.
package protocol WeightStore: Sendable {
    /// The file or folder, for error messages.
    var source: String { get }
    /// In file order.
    var tensorNames: [String] { get }
    /// nil when there is no such tensor.
    func tensor(named name: String) -> TensorView?
    /// Bytes of all tensors.
    var tensorBytes: Int { get }
}

extension WeightStore {
    /// The tensor, which must have exactly this shape.
    package func tensor(named name: String, shape: Shape) throws(ModelFileError) -> TensorView {
        guard let view = tensor(named: name) else {
            throw ModelFileError(file: source, tensor: name, problem: "missing tensor", expected: "\(shape)", found: "nothing")
        }
        guard view.shape == shape else {
            throw ModelFileError(
                file: source, tensor: name, problem: "wrong shape", expected: "\(shape)", found: "\(view.shape)")
        }
        return view
    }
}
