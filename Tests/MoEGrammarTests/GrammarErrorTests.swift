// SPDX-License-Identifier: Apache-2.0

import MoEGrammar
import Testing

@Suite struct GrammarErrorTests {}
