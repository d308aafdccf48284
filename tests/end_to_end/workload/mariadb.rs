//! Tables of types that only MariaDB has.

use rand::RngExt;
use rand::rngs::StdRng;

use super::tables::{Shape, or_null, pick};

/// A key of addresses, and one of UUIDs with compressed columns.
pub(super) fn shapes() -> Vec<Shape> {
    vec![
        Shape {
            name: "addresses",
            create: "CREATE TABLE addresses (six INET6 NOT NULL, four INET4 NOT NULL, u UUID NULL, i6 INET6 NULL, i4 INET4 NULL, \
                     j JSON NULL, PRIMARY KEY (six, four))",
            keys: &["six", "four"],
            values: &["u", "i6", "i4", "j"],
            key: |dice| vec![small_inet6(dice), small_inet4(dice)],
            value: |dice| {
                let document = format!("'{{\"n\": {}, \"b\":[1.50]}}'", dice.random_range(0..99));
                let (u, six, four) = (uuid(dice), inet6(dice), inet4(dice));
                vec![or_null(dice, u), or_null(dice, six), or_null(dice, four), or_null(dice, document)]
            },
            whole_numbers: false,
            text: false,
            rows_at_most: 1_000_000,
        },
        Shape {
            name: "compressed",
            create: "CREATE TABLE compressed (id UUID NOT NULL PRIMARY KEY, v VARCHAR(900) COMPRESSED NULL, \
                     w VARCHAR(200) COMPRESSED CHARACTER SET latin1 NULL, t TEXT COMPRESSED NULL, b BLOB COMPRESSED NULL, \
                     vb VARBINARY(900) COMPRESSED NULL)",
            keys: &["id"],
            values: &["v", "w", "t", "b", "vb"],
            key: |dice| vec![format!("'{:08x}-1234-7abc-8def-00000000ff00'", dice.random_range(0..300_u32))],
            value: |dice| {
                let texts = [text(dice), text(dice), text(dice)].map(|text| format!("LEFT({text}, 200)"));
                let (bytes, more) = (bytes(dice), bytes(dice));
                texts.into_iter().chain([bytes, more]).map(|value| or_null(dice, value)).collect()
            },
            whole_numbers: false,
            text: false,
            rows_at_most: 1_000_000,
        },
    ]
}

fn text(dice: &mut StdRng) -> String {
    let words = pick(dice, &["'short'", "''", "'é'", "'trailing  '", "'café au lait '"]);
    format!("REPEAT({words}, {})", dice.random_range(1..60))
}

fn bytes(dice: &mut StdRng) -> String {
    format!("REPEAT({}, {})", pick(dice, &["X'00'", "X'00FF'", "X''", "'text'", "X'80'"]), dice.random_range(1..220))
}

/// UUIDs of every version and none: the server keeps some in another order. Others than versions 0 to 7 it refuses here and there.
pub(crate) fn uuid(dice: &mut StdRng) -> String {
    let (high, low): (u64, u64) = (dice.random(), dice.random());
    let high = high & !0xf000 | dice.random_range(0..8) << 12;
    let low = if dice.random_range(0..3) == 0 { low << 24 } else { low };
    let digits = format!("{high:016x}{low:016x}");
    let part = |from: usize, to: usize| &digits[from..to];
    format!("'{}-{}-{}-{}-{}'", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

fn small_inet6(dice: &mut StdRng) -> String {
    let words: Vec<String> = (0..8).map(|_| pick(dice, &["0", "0", "0", "1", "ffff"]).to_owned()).collect();
    format!("'{}'", words.join(":"))
}

pub(crate) fn inet6(dice: &mut StdRng) -> String {
    let words: Vec<String> =
        (0..8).map(|_| format!("{:x}", dice.random::<u16>() >> dice.random_range(0..17_u32).min(15))).collect();
    format!("'{}'", words.join(":"))
}

fn small_inet4(dice: &mut StdRng) -> String {
    format!("'10.{}.0.{}'", dice.random_range(0..2), pick(dice, &["0", "1", "255"]))
}

pub(crate) fn inet4(dice: &mut StdRng) -> String {
    format!("'{}'", std::net::Ipv4Addr::from(dice.random::<u32>()))
}
