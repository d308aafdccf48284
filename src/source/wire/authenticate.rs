//! The handshake: who we are, TLS, and the proof of the password.
//!
//! `caching_sha2_password` and `mysql_native_password` never send the password itself over plain text: where the server wants it
//! whole (its cache is cold), it travels inside TLS, else encrypted with the server's RSA key.

use std::time::Duration;

use mysql_common::constants::CapabilityFlags;
use mysql_common::scramble::{scramble_native, scramble_sha256};

use super::channel::Channel;
use super::fields::{Fields, put_string};
use super::refusal::ServerError;
use crate::source::{Result, tls};

/// utf8mb4_general_ci: what names and error messages are exchanged in.
const COLLATION: u8 = 45;
const PACKET_BYTES_MAX: u32 = 1 << 30;
const NONCE_BYTES: usize = 20;
/// A server may ask for another plugin, a key and the password; not for more than so many rounds.
const ROUNDS_MAX: usize = 8;

/// What the server said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: String,
    pub(super) is_mariadb: bool,
    pub(super) connection_id: u32,
    capabilities: CapabilityFlags,
    plugin: String,
    nonce: Vec<u8>,
}

impl Greeting {
    fn parse(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        if fields.u8()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(fields.terminated()?).into_owned();
        let connection_id = fields.u32()?;
        let mut nonce = fields.take(8)?.to_vec();
        fields.take(1)?;
        let lower = fields.u16()?;
        // Collation and status say nothing that is needed.
        fields.take(3)?;
        let upper = fields.u16()?;
        let nonce_length = usize::from(fields.u8()?);
        fields.take(10)?;
        nonce.extend_from_slice(fields.take(nonce_length.saturating_sub(8).max(13))?);
        nonce.truncate(NONCE_BYTES);
        let capabilities = CapabilityFlags::from_bits_truncate(u32::from(lower) | u32::from(upper) << 16);
        // The zero byte behind the name is missing in some servers.
        let plugin = fields.0.split(|byte| *byte == 0).next().unwrap_or_default();
        // MariaDB tells itself from MySQL by this flag, whatever its version is made to say.
        let is_mariadb =
            !capabilities.contains(CapabilityFlags::CLIENT_LONG_PASSWORD) || version.to_ascii_lowercase().contains("mariadb");
        Some(Self {
            version,
            is_mariadb,
            connection_id,
            capabilities,
            plugin: String::from_utf8_lossy(plugin).into_owned(),
            nonce,
        })
    }
}

/// Takes a fresh connection to the point where commands are accepted.
pub(super) async fn authenticate(channel: &mut Channel) -> Result<Greeting> {
    let silence = channel.settings().timeout;
    let packet = channel.read(silence).await?;
    if let Some(error) = ServerError::parse(packet) {
        return Err(error.error(channel.settings(), None));
    }
    let greeting = Greeting::parse(packet).ok_or_else(|| channel.failure("what answers is not a MySQL server"))?;
    let mut wanted = CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH;
    if !greeting.capabilities.contains(wanted) {
        return Err(channel.failure(format!("server version {} is too old: it lacks protocol capabilities", greeting.version)));
    }
    // Every client sets it; MariaDB takes its absence for a promise of more than we speak.
    wanted |= CapabilityFlags::CLIENT_LONG_PASSWORD;
    let optional = CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | CapabilityFlags::CLIENT_CONNECT_ATTRS;
    wanted |= greeting.capabilities & optional;
    if let Some(client) = tls::Client::new(channel.settings())? {
        if !greeting.capabilities.contains(CapabilityFlags::CLIENT_SSL) {
            let remedy = format!("enable TLS on the server, or set tls.mode of source {} to off", channel.settings().name);
            return Err(channel.refused("the server offers no TLS", remedy));
        }
        wanted |= CapabilityFlags::CLIENT_SSL;
        let request = response_head(wanted);
        channel.write(&request).await?;
        channel.encrypt(&client).await?;
    }
    let response = response(channel, &greeting, wanted);
    channel.write(&response).await?;
    prove(channel, &greeting, silence).await?;
    Ok(greeting)
}

fn response_head(capabilities: CapabilityFlags) -> Vec<u8> {
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(&capabilities.bits().to_le_bytes());
    head.extend_from_slice(&PACKET_BYTES_MAX.to_le_bytes());
    head.push(COLLATION);
    head.extend_from_slice(&[0; 23]);
    head
}

fn response(channel: &Channel, greeting: &Greeting, capabilities: CapabilityFlags) -> Vec<u8> {
    let settings = channel.settings();
    // An unknown plugin is answered with the usual one; the server then asks for what the account really has.
    let plugin = if greeting.plugin == "mysql_native_password" { greeting.plugin.as_str() } else { "caching_sha2_password" };
    let proof = scramble(plugin, &settings.password.0, &greeting.nonce);
    let mut response = response_head(capabilities);
    response.extend_from_slice(settings.user.as_bytes());
    response.push(0);
    // A proof is shorter than 251 bytes: both encodings of its length are one byte.
    put_string(&mut response, &proof);
    response.extend_from_slice(plugin.as_bytes());
    response.push(0);
    if capabilities.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS) {
        let mut attributes = Vec::new();
        for (key, value) in [("program_name", "binlake"), ("_client_version", env!("CARGO_PKG_VERSION"))] {
            put_string(&mut attributes, key.as_bytes());
            put_string(&mut attributes, value.as_bytes());
        }
        put_string(&mut response, &attributes);
    }
    response
}

/// The proof that goes over the wire in the clear; empty for an empty password and for plugins that have none.
fn scramble(plugin: &str, password: &str, nonce: &[u8]) -> Vec<u8> {
    let proof = match plugin {
        "caching_sha2_password" => scramble_sha256(nonce, password.as_bytes()).map(|proof| proof.to_vec()),
        "mysql_native_password" => scramble_native(nonce, password.as_bytes()).map(|proof| proof.to_vec()),
        _ => None,
    };
    proof.unwrap_or_default()
}

/// Answers what the server asks until it says yes or no.
async fn prove(channel: &mut Channel, greeting: &Greeting, silence: Duration) -> Result<()> {
    let mut plugin = greeting.plugin.clone();
    let mut nonce = greeting.nonce.clone();
    let password = channel.settings().password.0.clone();
    for _ in 0..ROUNDS_MAX {
        let packet = channel.read(silence).await?.to_vec();
        let mut fields = Fields(&packet);
        match fields.u8() {
            Some(0x00) => return Ok(()),
            Some(0xff) => {
                let error = ServerError::parse(&packet).ok_or_else(|| channel.failure("an error packet that cannot be read"))?;
                return Err(error.error(channel.settings(), None));
            }
            Some(0xfe) => {
                let name = fields.terminated().map(|name| String::from_utf8_lossy(name).into_owned());
                plugin = name.unwrap_or_else(|| "mysql_old_password".to_owned());
                nonce = fields.0.get(..NONCE_BYTES.min(fields.0.len())).unwrap_or_default().to_vec();
                let answer = switched(channel, greeting.is_mariadb, &plugin, &password, &nonce)?;
                channel.write(&answer).await?;
            }
            Some(0x01) => match fields.0 {
                // The proof was right; the yes follows.
                [3] if plugin == "caching_sha2_password" => {}
                [4] if plugin == "caching_sha2_password" => {
                    let answer = if channel.is_encrypted() { clear(&password) } else { vec![2] };
                    channel.write(&answer).await?;
                }
                key if key.starts_with(b"-----BEGIN") && !channel.is_encrypted() => {
                    let answer = sealed(channel, &password, &nonce, key)?;
                    channel.write(&answer).await?;
                }
                _ => return Err(channel.failure(format!("authentication by {plugin} took a turn that is not known"))),
            },
            _ => return Err(channel.failure("an authentication packet that is not known")),
        }
    }
    Err(channel.failure("authentication did not come to an end"))
}

/// The first answer for a plugin that the server switched to.
fn switched(channel: &Channel, is_mariadb: bool, plugin: &str, password: &str, nonce: &[u8]) -> Result<Vec<u8>> {
    match plugin {
        "caching_sha2_password" | "mysql_native_password" => Ok(scramble(plugin, password, nonce)),
        "sha256_password" if password.is_empty() => Ok(vec![0]),
        "sha256_password" if channel.is_encrypted() => Ok(clear(password)),
        // Asks for the server's key.
        "sha256_password" => Ok(vec![1]),
        "mysql_clear_password" if channel.is_encrypted() => Ok(clear(password)),
        _ => {
            let user = &channel.settings().user;
            let remedy = if is_mariadb {
                format!("ALTER USER '{user}'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('…')")
            } else {
                format!("ALTER USER '{user}'@'%' IDENTIFIED WITH caching_sha2_password BY '…'")
            };
            let encrypted = if channel.is_encrypted() { "" } else { " without TLS" };
            Err(channel.refused(
                format!("the account of user {user} authenticates by {plugin}, which binlake does not speak{encrypted}"),
                remedy,
            ))
        }
    }
}

fn clear(password: &str) -> Vec<u8> {
    let mut bytes = password.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The password under the server's RSA key, mixed with the nonce so that it cannot be sent again.
fn sealed(channel: &Channel, password: &str, nonce: &[u8], key: &[u8]) -> Result<Vec<u8>> {
    let mut secret = clear(password);
    if nonce.is_empty() {
        return Err(channel.failure("the server sent an RSA key and no nonce"));
    }
    for (byte, salt) in secret.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= salt;
    }
    match modulus_bytes(key) {
        // OAEP takes 42 bytes of the block.
        Some(block) if secret.len() + 42 <= block => Ok(mysql_common::crypto::encrypt(&secret, key)),
        Some(_) => Err(channel.refused("the password is too long for the server's RSA key", "use TLS for this source")),
        None => Err(channel.failure("the server's RSA key cannot be read")),
    }
}

/// The length of an RSA key's modulus, if `pem` is exactly what the encryption expects (it panics on anything else).
fn modulus_bytes(pem: &[u8]) -> Option<usize> {
    use base64::Engine;
    let text = std::str::from_utf8(pem).ok()?.trim_end_matches(['\n', '\r', '\0', ' ']);
    let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    let (outer, rest) = element(&bytes, 0x30)?;
    let (_algorithm, outer) = element(outer, 0x30)?;
    let (bits, behind) = element(outer, 0x03)?;
    let (key, end) = element(bits.strip_prefix(&[0])?, 0x30)?;
    let (modulus, key) = element(key, 0x02)?;
    let (exponent, key) = element(key, 0x02)?;
    let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
    let whole = rest.is_empty() && behind.is_empty() && end.is_empty() && key.is_empty();
    (whole && significant >= 128 && exponent.iter().any(|byte| *byte != 0)).then_some(significant)
}

/// The content of a DER element with this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_rsa_key_reaches_the_encryption() {
        assert_eq!(modulus_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), None);
        assert_eq!(modulus_bytes(b"-----BEGIN"), None);
        assert_eq!(modulus_bytes(b"\xff\xfe"), None);
    }

    #[test]
    fn what_is_no_greeting_is_refused_without_a_panic() {
        for length in 0..60 {
            assert_eq!(Greeting::parse(&vec![10; length]), None);
        }
        assert_eq!(Greeting::parse(b"HTTP/1.1 400 Bad Request"), None);
    }
}
