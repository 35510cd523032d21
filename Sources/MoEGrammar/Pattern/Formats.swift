// SPDX-License-Identifier: Apache-2.0

/// Texts of the formats that JSON Schema names.
enum Formats {
    static let names = [
        "date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
    ]

    /// nil: not known.
    static func automaton(_ name: String) throws(PatternError) -> CharacterAutomaton? {
        switch name {
        case "date": return try date()
        case "time": return try whole(time)
        case "date-time": return try dateTime()
        case "duration": return try whole(duration)
        case "email": return try whole(email)
        case "hostname": return try hostname()
        case "ipv4": return try whole(ipv4)
        case "ipv6": return try whole(ipv6)
        case "uuid": return try whole("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
        case "uri": return try whole(uri)
        default: return nil
        }
    }

    private static func whole(_ pattern: String) throws(PatternError) -> CharacterAutomaton {
        try CharacterAutomaton(try PatternParser.parse(pattern), isSearch: false)
    }

    // RFC 3339. Years from 1 on, and no leap seconds: what programs read.
    private static let days =
        #"(\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"#
        + #"|(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"#
    private static let time = #"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"#

    private static func date() throws(PatternError) -> CharacterAutomaton {
        try whole(days).subtracting(try whole(#"0000.*"#))
    }

    private static func dateTime() throws(PatternError) -> CharacterAutomaton {
        try whole(days + "T" + time).subtracting(try whole(#"0000.*"#))
    }

    // RFC 3339, appendix A.
    private static let duration =
        #"P((\d+D|\d+M(\d+D)?|\d+Y(\d+M(\d+D)?)?)(T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S))?"#
        + #"|T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S)|\d+W)"#

    // RFC 5321 without quotes and address literals.
    private static let email =
        #"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@"#
        + #"[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?)*"#

    // RFC 1123; labels of at most 63 characters.
    private static func hostname() throws(PatternError) -> CharacterAutomaton {
        try whole(#"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,3}"#)
    }

    private static let octet = #"(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"#
    private static var ipv4: String { "\(octet)(\\.\(octet)){3}" }

    // RFC 4291: eight groups, of which `::` may stand for one or more.
    private static var ipv6: String {
        let group = "[0-9a-fA-F]{1,4}"
        let last = "(\(group):\(group)|\(ipv4))"
        var forms = ["(\(group):){6}\(last)"]
        for before in 0...7 {
            let head = before == 0 ? "" : "\(group)(:\(group)){\(before - 1)}"
            // After `::`, up to 7 - before groups in all.
            let room = 7 - before
            var tails = [""]
            if room >= 1 { tails.append(group) }
            if room >= 2 { tails.append("(\(group):){0,\(room - 2)}\(last)") }
            forms.append("\(head)::(\(tails.joined(separator: "|")))")
        }
        return "(\(forms.joined(separator: "|")))"
    }

    // RFC 3986, with a registered name or an IPv4 address as host.
    private static let uri =
        #"[A-Za-z][A-Za-z0-9+.-]*:"#
        + #"(//(([A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(:\d{1,5})?(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*"#
        + #"|/?([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)"#
        + ##"(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"##
}
