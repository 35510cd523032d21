// SPDX-License-Identifier: Apache-2.0

// The library is one `import MoEInfer`: routing policies are MoEModel's, the tokenizer is MoETokenizer's, and file errors are
// MoETensors', resource errors MoECompute's, grammars MoEGrammar's, conversations MoEChat's. Everything of those modules that is not
// for users is `package`.
@_exported public import MoEChat
@_exported public import MoECompute
@_exported public import MoEGrammar
@_exported public import MoEModel
@_exported public import MoETensors
@_exported public import MoETokenizer
