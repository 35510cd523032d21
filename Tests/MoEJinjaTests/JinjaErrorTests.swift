// SPDX-License-Identifier: Apache-2.0

import MoEJinja
import Testing

@Suite struct JinjaErrorTests {}
