//! MariaDB's GTID event, which begins every group, and the list of GTIDs at a file's head.

use crate::change::{Gtid, GtidSet};
use crate::source::binlog::event::{Malformed, OrMalformed};
use crate::source::binlog::xa::xid_text;
use crate::source::wire::fields::Fields;

/// More domains and servers than this are no real server's.
const ENTRIES_MAX: u32 = 1 << 20;

/// How a group goes on behind its GTID event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::binlog) enum Follows {
    /// One statement; also the XA COMMIT or ROLLBACK of a transaction that was prepared before.
    Statement,
    /// Rows and statements until a commit event.
    Transaction,
    /// An XA transaction of this xid that ends with its PREPARE.
    Xa(String),
}

/// What stands at the head of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::binlog) struct GroupHead {
    pub(in crate::source::binlog) gtid: Gtid,
    pub(in crate::source::binlog) follows: Follows,
}

impl GroupHead {
    /// Reads the body of a GTID event that this server wrote.
    pub(in crate::source::binlog) fn parse(server_id: u32, body: &[u8]) -> Result<Self, Malformed> {
        const STANDALONE: u8 = 1;
        const GROUP_COMMIT_ID: u8 = 2;
        const PREPARED_XA: u8 = 64;
        const COMPLETED_XA: u8 = 128;
        const WHAT: &str = "a GTID event";
        let mut fields = Fields(body);
        let number = fields.array().map(u64::from_le_bytes).or_malformed(WHAT)?;
        let domain = fields.u32().or_malformed(WHAT)?;
        let flags = fields.u8().or_malformed(WHAT)?;
        if flags & GROUP_COMMIT_ID != 0 {
            fields.take(8).or_malformed(WHAT)?;
        }
        let follows = if flags & PREPARED_XA != 0 {
            Follows::Xa(read_xid(&mut fields).or_malformed(WHAT)?)
        } else if flags & (STANDALONE | COMPLETED_XA) != 0 {
            Follows::Statement
        } else {
            Follows::Transaction
        };
        Ok(Self { gtid: Gtid::of_domain(domain, server_id, number), follows })
    }
}

fn read_xid(fields: &mut Fields<'_>) -> Option<String> {
    let format = fields.array().map(i32::from_le_bytes)?;
    let (global, branch) = (usize::from(fields.u8()?), usize::from(fields.u8()?));
    let (global, branch) = (fields.take(global)?, fields.take(branch)?);
    Some(xid_text(i64::from(format), global, branch))
}

/// Reads the body of a GTID list: of each domain the last of its servers' entries is the domain's last.
pub(in crate::source::binlog) fn parse_list(body: &[u8]) -> Result<GtidSet, Malformed> {
    const WHAT: &str = "a list of GTIDs";
    let mut fields = Fields(body);
    // The upper bits are flags.
    let count = fields.u32().or_malformed(WHAT)? & 0x0fff_ffff;
    if count > ENTRIES_MAX {
        return Err(Malformed(format!("a list of {count} GTIDs")));
    }
    let mut set = GtidSet::default();
    for _ in 0..count {
        let (domain, server) = fields.u32().zip(fields.u32()).or_malformed(WHAT)?;
        let number = fields.array().map(u64::from_le_bytes).or_malformed(WHAT)?;
        set.insert(&Gtid::of_domain(domain, server, number));
    }
    Ok(set)
}

/// What of `received` is not in a server's binlog: `state` is its `gtid_binlog_state`, the last GTID of every domain and server.
/// None where that cannot be read.
pub(in crate::source::binlog) fn missing(received: &GtidSet, state: &str) -> Option<GtidSet> {
    let mut missing = GtidSet::default();
    let state: Option<Vec<Gtid>> =
        state.split(',').map(str::trim).filter(|text| !text.is_empty()).map(|text| one(text.trim())).collect();
    let state = state?;
    for (_, gtid) in received.domains() {
        if !state.iter().any(|known| known.origin == gtid.origin && known.number >= gtid.number) {
            missing.insert(&gtid);
        }
    }
    Some(missing)
}

fn one(text: &str) -> Option<Gtid> {
    let set: GtidSet = text.parse().ok()?;
    set.domains().map(|(_, gtid)| gtid).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_says_what_follows() {
        // As servers wrote them: a statement, a transaction, one in a group commit, XA PREPARE and XA COMMIT.
        let head = |flags: u8, more: &[u8]| {
            let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, flags];
            body.extend_from_slice(more);
            GroupHead::parse(5, &body).map(|head| (head.gtid.to_string(), head.follows))
        };
        let gtid = || "3-5-7".to_owned();
        let xid = b"\x07\x00\x00\x00\x01\x01xb\x01\xff";
        assert_eq!(head(0x29, &[0; 6]), Ok((gtid(), Follows::Statement)));
        assert_eq!(head(0x0c, &[0x10, 7, 0, 0, 0, 0]), Ok((gtid(), Follows::Transaction)));
        assert_eq!(head(0x0e, &[9; 8]), Ok((gtid(), Follows::Transaction)));
        assert_eq!(head(0x4c, xid), Ok((gtid(), Follows::Xa("X'78',X'62',7".to_owned()))));
        assert_eq!(head(0x4e, &[&[9; 8][..], xid].concat()), Ok((gtid(), Follows::Xa("X'78',X'62',7".to_owned()))));
        assert_eq!(head(0x8d, xid), Ok((gtid(), Follows::Statement)));
        assert!(head(0x4c, &xid[..7]).is_err() && head(0x0e, &[]).is_err());
    }

    #[test]
    fn a_list_ends_with_what_is_last() {
        let mut body = vec![3, 0, 0, 0x40];
        for (domain, server, number) in [(0u32, 2u32, 30u64), (0, 1, 20), (4, 2, 1)] {
            body.extend_from_slice(&domain.to_le_bytes());
            body.extend_from_slice(&server.to_le_bytes());
            body.extend_from_slice(&number.to_le_bytes());
        }
        assert_eq!(parse_list(&body).unwrap().to_string(), "0-1-20,4-2-1");
        assert!(parse_list(&body[..50]).is_err());
    }

    #[test]
    fn what_a_server_lacks_is_told_by_domain_and_server() {
        let received: GtidSet = "0-1-20,4-2-1".parse().unwrap();
        let lacks = |state: &str| missing(&received, state).map(|set| set.to_string());
        assert_eq!(lacks("0-2-30,0-1-20,4-2-7"), Some(String::new()));
        // Higher numbers of another server do not tell that ours are there.
        assert_eq!(lacks("0-2-30,0-1-19,4-2-1"), Some("0-1-20".to_owned()));
        assert_eq!(lacks(""), Some("0-1-20,4-2-1".to_owned()));
        assert_eq!(lacks("nonsense"), None);
    }
}
