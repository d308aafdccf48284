//! `mysql://[user[:password]@]host[:port]`, taken apart before anything is substituted and decoded.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use super::secret::Secret;
use super::settings::default;
use super::substitute::{Missing, Substitution, find_outside};

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User, where the URL names one.
    pub user: Option<String>,
    /// Password, where the URL holds one.
    pub password: Option<Secret>,
}

impl Address {
    /// Whether the host is this machine, by name or address.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

const FORM: &str = "write mysql://[user[:password]@]host[:port]";

fn refuse<T>(message: &str, remedy: &str) -> Result<T, Vec<Missing>> {
    Err(vec![Missing { message: message.to_owned(), remedy: remedy.to_owned() }])
}

/// Takes a URL apart. No message quotes it: a password may stand in it.
pub(super) fn parse(url: &str, substitution: &Substitution<'_>) -> Result<Address, Vec<Missing>> {
    let Some(rest) = url.strip_prefix("mysql://") else {
        return refuse("the URL does not begin with mysql://", FORM);
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (credentials, place) = match find_outside(rest, '@', true) {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    if find_outside(place, '?', false).is_some() {
        return refuse("the URL has options behind a `?`", "remove them; TLS is set by `tls`, the rest by keys of the source");
    }
    if find_outside(place, '/', false).is_some() {
        return refuse("the URL names a database", "remove it; tables are listed under `tables` as database.table");
    }
    let mut missing = Vec::new();
    let value = |text: &str| substitution.apply_with(text, &decoded);
    let mut keep = |result: Result<String, Vec<Missing>>| result.map_err(|more| missing.extend(more)).ok();
    let (user, password) = match credentials.map(|text| (text, find_outside(text, ':', false))) {
        None => (None, None),
        Some((text, None)) => (keep(value(text)), None),
        Some((text, Some(at))) => (keep(value(&text[..at])), keep(value(&text[at + 1..]))),
    };
    let (host, port) = split_port(place);
    let host = keep(value(host));
    let port = port.map(|port| keep(value(port)));
    if !missing.is_empty() {
        return Err(missing);
    }
    // A colon belongs to an IPv6 address, and that to brackets.
    let bracketed = place.starts_with('[');
    let host = host.filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '[', ']']));
    let host = host.filter(|host| bracketed == host.contains(':'));
    let Some(host) = host else {
        return refuse("the URL names no host", FORM);
    };
    let port = match port.flatten() {
        None => Some(default::PORT),
        Some(text) => text.parse().ok().filter(|port| *port > 0),
    };
    let Some(port) = port else {
        return refuse("the URL's port is no number from 1 to 65535", FORM);
    };
    Ok(Address { host, port, user: user.filter(|user| !user.is_empty()), password: password.map(Secret::new) })
}

/// `host`, `host:port`, `[address]`, `[address]:port`.
fn split_port(place: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if rest.is_empty() => (address, None),
            None => ("", None),
        };
    }
    match find_outside(place, ':', true) {
        Some(at) => (&place[..at], Some(&place[at + 1..])),
        None => (place, None),
    }
}

fn decoded(literal: &str) -> Result<String, Missing> {
    percent_decode_str(literal).decode_utf8().map(|text| text.into_owned()).map_err(|_| Missing {
        message: "the URL's percent-encoding is not UTF-8".to_owned(),
        remedy: "encode each character's UTF-8 bytes, e.g. %C3%A9".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::substitute::Environment;

    struct Fixed;

    impl Environment for Fixed {
        fn variable(&self, name: &str) -> Result<Option<String>, String> {
            Ok((name == "P").then(|| "a@b:c/d?%41${X}".to_owned()))
        }

        fn file(&self, _: &Path) -> std::io::Result<String> {
            Ok("from:file@\n".to_owned())
        }
    }

    fn read(url: &str) -> Result<Address, Vec<Missing>> {
        parse(url, &Substitution { environment: &Fixed, directory: Path::new("/") })
    }

    fn parts(url: &str) -> (String, u16, Option<String>, Option<String>) {
        let address = read(url).unwrap();
        (address.host, address.port, address.user, address.password.map(|password| password.reveal().to_owned()))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn all_forms_are_read() {
        assert_eq!(parts("mysql://db"), ("db".to_owned(), 3306, None, None));
        assert_eq!(parts("mysql://u@db:3307/"), ("db".to_owned(), 3307, some("u"), None));
        assert_eq!(parts("mysql://u:p%40%3A%25@10.0.0.1"), ("10.0.0.1".to_owned(), 3306, some("u"), some("p@:%")));
        assert_eq!(parts("mysql://u:@[::1]:1"), ("::1".to_owned(), 1, some("u"), some("")));
        assert_eq!(parts("mysql://u:a@b@db"), ("db".to_owned(), 3306, some("u"), some("a@b")));
    }

    #[test]
    fn any_character_may_stand_in_a_secret() {
        assert_eq!(parts("mysql://u:${P}@${H:-db}:${N:-3307}"), ("db".to_owned(), 3307, some("u"), some("a@b:c/d?%41${X}")));
        assert_eq!(parts("mysql://u:x${file:/run/secrets/p@x}@db").3, some("xfrom:file@"));
        assert_eq!(parts("mysql://u:a$$b@db").3, some("a$b"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_it() {
        for url in [
            "",
            "db:3306",
            "postgres://db",
            "mysql://",
            "mysql://u:secret@",
            "mysql://u:secret@db:0",
            "mysql://u:secret@db:x",
            "mysql://u:secret@db/shop",
            "mysql://u:secret@db?ssl=1",
            "mysql://u:secret%ff@db",
            "mysql://u:secret@[::1",
            "mysql://u:secret@::1",
            "mysql://u:secret@[db]",
            "mysql://u:secret@${GONE}",
            "mysql://u:secret${@db",
        ] {
            let missing = read(url).unwrap_err();
            assert!(!format!("{missing:?}").contains("secret"), "{url}: {missing:?}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (url, loopback) in
            [("mysql://LOCALHOST", true), ("mysql://127.8.0.1", true), ("mysql://[::1]", true), ("mysql://db", false)]
        {
            assert_eq!(read(url).unwrap().is_loopback(), loopback, "{url}");
        }
    }
}
