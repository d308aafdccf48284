//! `lake.metastore`: one address, or several of the same metastore.

use crate::config::cursor::Reader;
use crate::config::settings::{MetastoreAddress, default};
use crate::config::tree::{Kind, Node};

const FORM: &str = "write thrift://host:port (port 9083 where it is left out), or a list of them";

/// The addresses, in the order in which they are tried; none where no metastore is named. None: an error.
pub(super) fn metastore(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<MetastoreAddress>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let nodes: &[Node] = match &node.kind {
        Kind::List(items) if items.is_empty() => {
            reader.error(&node.place, "the list is empty", "name at least one address, or remove the key");
            return None;
        }
        Kind::List(items) => items,
        Kind::Scalar { .. } | Kind::Map(_) => std::slice::from_ref(node),
    };
    let addresses: Vec<MetastoreAddress> = nodes.iter().filter_map(|node| address(reader, node)).collect();
    (addresses.len() == nodes.len()).then_some(addresses)
}

fn address(reader: &mut Reader<'_>, node: &Node) -> Option<MetastoreAddress> {
    let text = reader.text(node)?;
    let parsed = parse(&text);
    if parsed.is_none() {
        let written = reader.written(node)?;
        reader.error(&node.place, format!("{written:?} is no address of a metastore"), FORM);
    }
    parsed
}

fn parse(text: &str) -> Option<MetastoreAddress> {
    let place = text.strip_prefix("thrift://")?;
    let place = place.strip_suffix('/').unwrap_or(place);
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((address, rest)) => (address.parse::<std::net::Ipv6Addr>().is_ok().then_some(address)?, rest),
        None => {
            let at = place.find(':').unwrap_or(place.len());
            (&place[..at], &place[at..])
        }
    };
    let port = match port {
        "" => default::METASTORE_PORT,
        port => port.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?,
    };
    let named = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', ',']);
    named.then(|| MetastoreAddress { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, u16)> {
        parse(text).map(|address| (address.host, address.port))
    }

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        assert_eq!(parts("thrift://hms"), Some(("hms".to_owned(), 9083)));
        assert_eq!(parts("thrift://10.0.0.1:19083/"), Some(("10.0.0.1".to_owned(), 19083)));
        assert_eq!(parts("thrift://[::1]:1"), Some(("::1".to_owned(), 1)));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "hms:9083",
            "http://hms",
            "thrift://",
            "thrift://:1",
            "thrift://a:0",
            "thrift://a:b",
            "thrift://a,b",
            "thrift://a/b",
            "thrift://[x]",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
