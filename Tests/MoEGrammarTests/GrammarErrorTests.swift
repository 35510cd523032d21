// SPDX-License-Identifier: Apache-2.0

import Testing

import MoEGrammar

@Suite struct GrammarErrorTests {}
