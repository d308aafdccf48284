//! Names for what a store writes beside its place first, where a name is seen before what it names is whole.
//!
//! `log/00000000000000000042.json` is written as `log/.00000000000000000042.json.<unique>.tmp` and renamed. No such name is ever used twice, so
//! whoever holds one and finds it gone knows that nobody else can have put its own under it. Hadoop's engines pass over names that begin with
//! a dot. What a process that was killed leaves behind lies beside its place, and goes with what nobody needs there.

#[cfg(any(test, feature = "hdfs"))]
use object_store::path::Path;

const END: &str = ".tmp";

/// A name for what is to lie at `place`, that nobody has used and nobody else will.
#[cfg(any(test, feature = "hdfs"))]
pub(super) fn beside(place: &Path) -> Path {
    let name = format!(".{}.{}{END}", place.filename().unwrap_or_default(), super::unique().simple());
    let mut parts: Vec<_> = place.parts().collect();
    parts.pop();
    parts.into_iter().collect::<Path>().join(name)
}

/// The name of what was to lie where this was written beside; None for all other names.
pub(super) fn of(name: &str) -> Option<&str> {
    let (place, unique) = name.strip_prefix('.')?.strip_suffix(END)?.rsplit_once('.')?;
    uuid::Uuid::try_parse(unique).is_ok().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_beside_a_place_says_which_and_is_never_the_same() {
        let place = Path::from("a/dt=2026-11-22/00000000000000000042.json");
        let (one, other) = (beside(&place), beside(&place));
        assert_ne!(one, other);
        assert_eq!(of(one.filename().unwrap()), Some("00000000000000000042.json"));
        assert!(one.as_ref().starts_with("a/dt=2026-11-22/.0"));
        for name in ["00000000000000000042.json", ".hidden", ".x.tmp", ".00000000000000000042.json.1.tmp"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
