//! Tokens: opaque, random, stored only as hashes.
//!
//! A join token, `ry1.PIN.ID.SECRET`, lets one agent or peer into the group and names the group's CA,
//! so that it is never sent to another. A user token, `runyard_ID_SECRET`, is a person's or a
//! script's. In both the id is public and finds the record; the secret proves it.

use std::fmt;
use std::str::FromStr;

use runyard_types::Digest;

use crate::Pin;

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 20;

/// Why a text is not a token. The text itself is never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a join token.
    #[error("this is not a join token (`ry1.…`, as printed by `runyard token create agent`)")]
    Join,
    /// Not a user token.
    #[error("this is not a user token (`runyard_…`, as printed by `runyard token create`)")]
    User,
}

/// The public part of a token, by which its record is found: 16 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

impl TokenId {
    /// Checks an id that came in a message.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, ID_BYTES).then(|| Self(text.into()))
    }
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret part of a token: 160 random bits, 40 hexadecimal digits. It is not shown by `Debug`.
#[derive(Clone)]
pub struct TokenSecret(String);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

impl TokenSecret {
    /// Checks a secret that came in a message.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, SECRET_BYTES).then(|| Self(text.into()))
    }
    /// The secret itself, to be sent over TLS and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What a token is for; it enters the hash, so that no token serves as one of the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A join token.
    Join,
    /// A user token.
    User,
}

/// The hash under which a token is stored: BLAKE3 keyed by a context per kind, over id and secret.
/// The secret has 160 random bits, so a slow hash would add nothing.
pub fn hash(kind: Kind, id: &TokenId, secret: &TokenSecret) -> Digest {
    Digest::from_bytes(*hash_of(kind, id, secret).as_bytes())
}

/// Whether `secret` is the one that was stored as `stored`; takes the same time whatever differs.
pub fn verify(kind: Kind, id: &TokenId, secret: &TokenSecret, stored: &Digest) -> bool {
    // blake3::Hash compares in constant time.
    hash_of(kind, id, secret) == blake3::Hash::from_bytes(*stored.as_bytes())
}

fn hash_of(kind: Kind, id: &TokenId, secret: &TokenSecret) -> blake3::Hash {
    let context = match kind {
        Kind::Join => "runyard v1 join token",
        Kind::User => "runyard v1 user token",
    };
    blake3::Hasher::new_derive_key(context)
        .update(id.0.as_bytes())
        .update(b".")
        .update(secret.0.as_bytes())
        .finalize()
}

/// A token with which an agent or peer joins the group whose CA has the pin.
#[derive(Debug, Clone)]
pub struct JoinToken {
    pub pin: Pin,
    pub id: TokenId,
    pub secret: TokenSecret,
}

impl JoinToken {
    /// A fresh token for the group of `pin`.
    pub fn generate(pin: Pin) -> Self {
        Self { pin, id: random_id(), secret: random_secret() }
    }
    /// The text to hand to the new node. A secret, hence not `Display`.
    pub fn expose(&self) -> String {
        format!("ry1.{}.{}.{}", self.pin, self.id, self.secret.0)
    }
    /// The hash under which the token is stored.
    pub fn hash(&self) -> Digest {
        hash(Kind::Join, &self.id, &self.secret)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let ["ry1", pin, id, secret] = parts.as_slice() else {
            return Err(TokenError::Join);
        };
        Ok(Self {
            pin: pin.parse().map_err(|_| TokenError::Join)?,
            id: TokenId::parse(id).ok_or(TokenError::Join)?,
            secret: TokenSecret::parse(secret).ok_or(TokenError::Join)?,
        })
    }
}

/// A token that a user's calls carry as `authorization: Bearer …`.
#[derive(Debug, Clone)]
pub struct UserToken {
    pub id: TokenId,
    pub secret: TokenSecret,
}

impl UserToken {
    /// A fresh token.
    pub fn generate() -> Self {
        Self { id: random_id(), secret: random_secret() }
    }
    /// The text to hand to the user. A secret, hence not `Display`.
    pub fn expose(&self) -> String {
        format!("runyard_{}_{}", self.id, self.secret.0)
    }
    /// The hash under which the token is stored.
    pub fn hash(&self) -> Digest {
        hash(Kind::User, &self.id, &self.secret)
    }
    /// Reads the value of an `authorization` header. `None` for another scheme or a malformed token.
    pub fn from_authorization(value: &str) -> Option<Self> {
        let (scheme, token) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") { token.parse().ok() } else { None }
    }
}

impl FromStr for UserToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.trim().strip_prefix("runyard_").ok_or(TokenError::User)?;
        let (id, secret) = rest.split_once('_').ok_or(TokenError::User)?;
        Ok(Self {
            id: TokenId::parse(id).ok_or(TokenError::User)?,
            secret: TokenSecret::parse(secret).ok_or(TokenError::User)?,
        })
    }
}

fn random_id() -> TokenId {
    TokenId(hex::encode(rand::random::<[u8; ID_BYTES]>()))
}

fn random_secret() -> TokenSecret {
    TokenSecret(hex::encode(rand::random::<[u8; SECRET_BYTES]>()))
}

/// Lower case only, so that a token has one spelling.
fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ca::Ca;

    fn pin() -> Pin {
        Ca::create("test", SystemTime::now()).expect("a CA").pin()
    }

    #[test]
    fn a18_tokens_are_read_as_they_are_written() {
        let join = JoinToken::generate(pin());
        let back: JoinToken = format!(" {}\n", join.expose()).parse().expect("a token");
        assert_eq!((back.pin, &back.id), (join.pin, &join.id));
        assert_eq!(back.hash(), join.hash());

        let user = UserToken::generate();
        let header = format!("Bearer {}", user.expose());
        let back = UserToken::from_authorization(&header).expect("a token");
        assert_eq!(back.hash(), user.hash());
        assert!(UserToken::from_authorization(&user.expose()).is_none());
        assert!(UserToken::from_authorization(&format!("Basic {}", user.expose())).is_none());
    }

    #[test]
    fn a18_malformed_tokens_are_refused_and_never_shown() {
        let good = JoinToken::generate(pin()).expose();
        let upper = good.to_uppercase();
        let short = &good[..good.len() - 1];
        let long = format!("{good}0");
        let more = format!("{good}.x");
        let other = good.replace("ry1", "ry2");
        for bad in ["", "ry1", "ry1...", &upper, short, &long, &more, &other] {
            let error = bad.parse::<JoinToken>().expect_err(bad);
            assert!(!error.to_string().contains(&good[70..]), "{error}");
        }
        let user = UserToken::generate().expose();
        for bad in ["", "runyard_", "runyard__", &user[1..], &user[..user.len() - 1]] {
            assert_eq!(bad.parse::<UserToken>().expect_err(bad), TokenError::User);
        }
    }

    #[test]
    fn a18_only_the_hash_is_kept_and_it_binds_kind_id_and_secret() {
        let (one, two) = (UserToken::generate(), UserToken::generate());
        assert!(verify(Kind::User, &one.id, &one.secret, &one.hash()));
        assert!(!verify(Kind::Join, &one.id, &one.secret, &one.hash()));
        assert!(!verify(Kind::User, &two.id, &one.secret, &one.hash()));
        assert!(!verify(Kind::User, &one.id, &two.secret, &one.hash()));
        assert_ne!(one.secret.expose(), two.secret.expose());
        let shown = format!("{one:?}");
        assert!(!shown.contains(one.secret.expose()), "{shown}");
        // A stored hash must keep its meaning for ever.
        let id = TokenId::parse("0123456789abcdef").expect("an id");
        let secret = TokenSecret::parse(&"5a".repeat(20)).expect("a secret");
        let mut hasher = blake3::Hasher::new_derive_key("runyard v1 user token");
        hasher.update(format!("0123456789abcdef.{}", "5a".repeat(20)).as_bytes());
        assert_eq!(hash(Kind::User, &id, &secret).as_bytes(), hasher.finalize().as_bytes());
    }
}
