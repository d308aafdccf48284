//! The embedded change log's file, opened and changed by hand: what somebody with an SQLite shell, or a bad disk, could do to it.
//!
//! The checksums are made right again unless a test wants them wrong, so that what was done looks like the log's own work.

use rusqlite::Connection;
use serde_json::Value;

use crate::scene::Scene;

/// See the module.
#[derive(Debug)]
pub(crate) struct LogFile {
    connection: Connection,
    topic: String,
    state: std::path::PathBuf,
}

/// A record as a block holds it.
#[derive(Debug, Clone)]
struct Entry {
    /// Epoch, file, offset, ordinal.
    place: [u64; 4],
    key: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Debug)]
struct Block {
    id: i64,
    first: i64,
    term: i64,
    schema: String,
    previous: Option<String>,
    entries: Vec<Entry>,
}

impl Entry {
    fn position(&self) -> String {
        let [epoch, file, offset, ordinal] = self.place;
        format!("{epoch}:{file}:{offset}/{ordinal}")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.value).unwrap()
    }
}

fn write_number(text: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        text.push(number as u8 | 0x80);
        number >>= 7;
    }
    text.push(number as u8);
}

fn read_number(text: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = *text.split_off_first().unwrap();
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
        shift += 7;
    }
}

/// The text of a block, as `src/changelog/local/text.rs` describes it.
impl Block {
    /// Every record in full: none refers to the one before it.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for entry in &self.entries {
            let lengths = [entry.key.len() as u64, entry.value.len() as u64, 0, 0, 0];
            [0].iter().chain(&entry.place).chain(&lengths).for_each(|number| write_number(&mut text, *number));
            text.extend_from_slice(&entry.key);
            text.extend_from_slice(&entry.value);
        }
        text
    }

    fn parse(mut text: &[u8]) -> Vec<Entry> {
        let (mut entries, mut closing): (Vec<Entry>, Vec<u8>) = (Vec::new(), Vec::new());
        while !text.is_empty() {
            let place = match (read_number(&mut text), entries.last()) {
                (1, Some(before)) => [before.place[0], before.place[1], before.place[2], before.place[3] + 1],
                _ => std::array::from_fn(|_| read_number(&mut text)),
            };
            let [key, own, head, middle, tail] = std::array::from_fn(|_| read_number(&mut text) as usize);
            let mut take = |length: usize| text.split_off(..length).unwrap();
            let (key, own, middle) = (take(key), take(own), take(middle));
            closing = [&closing[..head], middle, &closing[closing.len() - tail..]].concat();
            entries.push(Entry { place, key: key.to_vec(), value: [own, &closing].concat() });
        }
        entries
    }
}

impl LogFile {
    /// The topic of `database.table` in a scene's log.
    pub(crate) fn open(scene: &Scene, table: &str) -> Self {
        let connection = Connection::open(scene.path("state/changelog/changelog.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        Self { connection, topic: format!("{}.{table}", scene.yaml.name), state: scene.path("state/binlake.db") }
    }

    fn topic_id(&self) -> Option<i64> {
        self.connection.query_row("SELECT topic_id FROM topics WHERE name = ?1", [&self.topic], |row| row.get(0)).ok()
    }

    /// Where the topic ends; 0 where it is not there yet.
    pub(crate) fn end(&self) -> u64 {
        let sql = "SELECT end_offset FROM partitions WHERE topic_id = ?1";
        self.topic_id().map_or(0, |topic| self.connection.query_row(sql, [topic], |row| row.get::<_, i64>(0)).unwrap() as u64)
    }

    fn blocks(&self) -> Vec<Block> {
        let sql =
            "SELECT block_id, first_offset, term, schema, previous, data FROM blocks WHERE topic_id = ?1 ORDER BY first_offset";
        let mut statement = self.connection.prepare(sql).unwrap();
        let blocks = statement.query_map([self.topic_id().unwrap()], |row| {
            let text = lz4_flex::block::decompress_size_prepended(&row.get::<_, Vec<u8>>(5)?).unwrap();
            Ok(Block {
                id: row.get(0)?,
                first: row.get(1)?,
                term: row.get(2)?,
                schema: row.get(3)?,
                previous: row.get(4)?,
                entries: Block::parse(&text),
            })
        });
        blocks.unwrap().map(Result::unwrap).collect()
    }

    fn store(&self, block: &Block) {
        let data = lz4_flex::block::compress_prepend_size(&block.text());
        let raw_bytes: usize = block.entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        let end = block.first + block.entries.len() as i64;
        let mut crc = crc32fast::Hasher::new();
        for number in [block.first, end, block.term, raw_bytes as i64] {
            crc.update(&(number as u64).to_le_bytes());
        }
        crc.update(block.schema.as_bytes());
        crc.update(b"/");
        crc.update(block.previous.as_deref().unwrap_or("-").as_bytes());
        crc.update(&data);
        let sql = "UPDATE blocks SET first_offset = ?2, end_offset = ?3, previous = ?4, raw_bytes = ?5, crc32 = ?6, data = ?7 WHERE block_id = ?1";
        let values = (block.id, block.first, end, &block.previous, raw_bytes as i64, crc.finalize(), data);
        assert_eq!(self.connection.execute(sql, values).unwrap(), 1);
    }

    /// The one record that `wanted` knows by its JSON: its place among the blocks.
    fn find(blocks: &[Block], wanted: impl Fn(&Value) -> bool) -> (usize, usize) {
        let places = blocks.iter().enumerate().flat_map(|(number, block)| (0..block.entries.len()).map(move |at| (number, at)));
        let found: Vec<_> = places.filter(|(number, at)| wanted(&blocks[*number].entries[*at].json())).collect();
        assert_eq!(found.len(), 1, "one record is meant");
        found[0]
    }

    /// Writes another value into a record; the checksum is right.
    pub(crate) fn change(&self, wanted: impl Fn(&Value) -> bool, change: impl Fn(&str) -> String) {
        let mut blocks = self.blocks();
        let (number, at) = Self::find(&blocks, wanted);
        let entry = &mut blocks[number].entries[at];
        let (old, text) = (entry.value.clone(), change(std::str::from_utf8(&entry.value).unwrap()));
        entry.value = text.into_bytes();
        assert_ne!(old, entry.value, "nothing was changed");
        self.store(&blocks[number]);
    }

    /// Takes a record out as if it had never been: offsets, chain, ends and checksums are right.
    pub(crate) fn drop_record(&self, wanted: impl Fn(&Value) -> bool) {
        let mut blocks = self.blocks();
        let (number, at) = Self::find(&blocks, wanted);
        blocks[number].entries.remove(at);
        let topic = self.topic_id().unwrap();
        self.connection.execute_batch("BEGIN").unwrap();
        let (mut last, mut first) = (blocks[number].previous.clone(), blocks[number].first);
        for block in &mut blocks[number..] {
            if block.entries.is_empty() {
                self.connection.execute("DELETE FROM blocks WHERE block_id = ?1", [block.id]).unwrap();
                continue;
            }
            (block.previous, block.first) = (last, first);
            last = block.entries.last().map(Entry::position);
            first += block.entries.len() as i64;
            self.store(block);
        }
        let sql = "UPDATE partitions SET end_offset = end_offset - 1, last_position = ?2 WHERE topic_id = ?1";
        self.connection.execute(sql, (topic, last)).unwrap();
        self.connection.execute_batch("COMMIT").unwrap();
        let state = Connection::open(&self.state).unwrap();
        let sql = "UPDATE topic_ends SET end_offset = end_offset - 1 WHERE topic = ?1";
        assert_eq!(state.execute(sql, [&self.topic]).unwrap(), 1);
    }

    /// Flips a bit of the block that holds a record; the checksum stays as it was. The block's first offset.
    pub(crate) fn damage(&self, wanted: impl Fn(&Value) -> bool) -> u64 {
        let blocks = self.blocks();
        let block = &blocks[Self::find(&blocks, wanted).0];
        let sql = "SELECT data FROM blocks WHERE block_id = ?1";
        let mut data: Vec<u8> = self.connection.query_row(sql, [block.id], |row| row.get(0)).unwrap();
        let middle = data.len() / 2;
        data[middle] ^= 4;
        self.connection.execute("UPDATE blocks SET data = ?2 WHERE block_id = ?1", (block.id, data)).unwrap();
        block.first as u64
    }
}
