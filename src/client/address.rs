//! Which addresses an outbound call may reach.
//!
//! The decision is about the address that is connected, never about a name: a name is resolved once, every answer is
//! judged, and the connection goes to a judged address, so an answer that changes later changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On the public internet.
    Public,
    /// This machine or a network of the operator: only where a destination allows it.
    Private,
    /// Never a destination: cloud metadata, link-local, multicast, unspecified, documentation, reserved.
    Never,
}

/// Judges an address. IPv6 addresses that carry an IPv4 one are judged by the one they carry.
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

// The IANA special-purpose registry for IPv4, and what clouds put on ordinary addresses.
fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        // RFC 1122 loopback; RFC 1918; RFC 6598 carrier-grade NAT, except Alibaba's metadata service inside it.
        (100, 100, 100, 200) => Reach::Never,
        (127 | 10, ..) | (172, 16..=31, ..) | (192, 168, ..) | (100, 64..=127, ..) => Reach::Private,
        // "This network", link-local (AWS, Azure, Google metadata), IETF assignments (Oracle metadata), 6to4 relays.
        (0, ..) | (169, 254, ..) | (192, 0, 0, _) | (192, 88, 99, _) => Reach::Never,
        // Azure's host agent has a public address.
        (168, 63, 129, 16) => Reach::Never,
        // Benchmarks, documentation, multicast, reserved, broadcast.
        (198, 18..=19, ..) | (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) | (224.., ..) => {
            Reach::Never
        }
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0) if g == 0 && h == 1 => Reach::Private,
        // Mapped (what a dual-stack socket calls IPv4) is the IPv4 address itself.
        (0, 0, 0, 0, 0, 0xffff) => reach_v4(embedded(g, h)),
        // Deprecated compatible, translated (RFC 6052, 8215) and 6to4 addresses reach a public peer at best, and nobody
        // publishes a service on one: refused also when what they carry is public.
        (0, 0, 0, 0, _, _) | (0x64, 0xff9b, ..) | (0x2002, ..) => Reach::Never,
        // Discard-only, IETF assignments with Teredo, documentation, segment routing.
        (0x100, 0, 0, ..) | (0x2001, 0..=0x1ff, ..) | (0x2001, 0xdb8, ..) | (0x5f00, ..) => Reach::Never,
        (0x3fff, b, ..) if b <= 0xfff => Reach::Never,
        // AWS metadata over IPv6 has a unique local address.
        (0xfd00, 0xec2, ..) => Reach::Never,
        (a, ..) if a & 0xfe00 == 0xfc00 => Reach::Private,
        // Only 2000::/3 is global unicast today; link-local, site-local and multicast lie outside it.
        (a, ..) if a & 0xe000 == 0x2000 => Reach::Public,
        _ => Reach::Never,
    }
}
