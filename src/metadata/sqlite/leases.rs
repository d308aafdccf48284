//! Leases: who writes, and the term that every write is compared with.

use rusqlite::{OptionalExtension, Transaction};

use super::trouble::{Outcome, Trouble, loaded, stored};
use crate::change::Term;
use crate::metadata::Lease;
use crate::trial::{Mistake, planted};

/// Takes a resource over. The caller has made sure that no other process is alive.
pub(super) fn acquire(transaction: &Transaction<'_>, resource: String, holder: &str) -> Outcome<Lease> {
    let term: i64 = transaction.query_row(
        "INSERT INTO leases (resource, term, holder, process) VALUES (?1, 1, ?2, ?3)
         ON CONFLICT (resource) DO UPDATE SET term = term + 1, holder = excluded.holder, process = excluded.process,
           taken_at = excluded.taken_at
         RETURNING term",
        (&resource, holder, std::process::id()),
        |row| row.get(0),
    )?;
    let term = Term(loaded(|| format!("the term of {resource}"), term)?);
    Ok(Lease { resource, term })
}

/// Lets the term of a lease grow above `above`.
pub(super) fn raise(transaction: &Transaction<'_>, lease: &Lease, above: Term) -> Outcome<Lease> {
    check(transaction, lease)?;
    let term = Term(lease.term.max(above).0 + 1);
    transaction.execute("UPDATE leases SET term = ?2 WHERE resource = ?1", (&lease.resource, stored(term.0)?))?;
    Ok(Lease { resource: lease.resource.clone(), term })
}

/// Refuses a lease that was overtaken. A term below ours (a store restored under a running daemon) is as good as another holder.
pub(super) fn check(transaction: &Transaction<'_>, lease: &Lease) -> Outcome<()> {
    let found: Option<i64> =
        transaction.query_row("SELECT term FROM leases WHERE resource = ?1", [&lease.resource], |row| row.get(0)).optional()?;
    let by = Term(loaded(|| format!("the term of {}", lease.resource), found.unwrap_or(0))?);
    if by == lease.term || planted(Mistake::TermIgnored) {
        return Ok(());
    }
    Err(Trouble::Fenced { resource: lease.resource.clone(), term: lease.term, by })
}

/// Gives a resource back; its term stays, so that the next one is higher.
pub(super) fn release(transaction: &Transaction<'_>, lease: &Lease) -> Outcome<()> {
    check(transaction, lease)?;
    transaction.execute(
        "UPDATE leases SET holder = NULL, process = NULL WHERE resource = ?1 AND term = ?2",
        (&lease.resource, stored(lease.term.0)?),
    )?;
    Ok(())
}
