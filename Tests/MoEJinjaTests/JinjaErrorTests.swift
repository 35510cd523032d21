// SPDX-License-Identifier: Apache-2.0

import Testing

import MoEJinja

@Suite struct JinjaErrorTests {}
