// SPDX-License-Identifier: Apache-2.0

import MoEChat
import Testing

@Suite struct ChatMessageTests {}
