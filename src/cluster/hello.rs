//! The handshake in front of every connection of a cluster: both sides prove that they know the secret before either reads
//! anything else.
//!
//! ```text
//! connector -> acceptor  magic, purpose, from, to, generation, nonce               fixed length
//! acceptor -> connector  nonce, HMAC(secret, "acceptor" hello nonce)
//! connector -> acceptor  HMAC(secret, "connector" hello nonce)
//! ```
//! A proof holds for one purpose, direction, pair and generation, and for the nonces of both, so none can be used again or for
//! something else. All lengths are fixed and all reads have a time: a stranger costs a thread for [`TIME`] at most.
//! Deliberately absent: what is said afterwards.

use super::secret::{PROOF, Secret};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a handshake may take, each side.
pub const TIME: Duration = Duration::from_secs(2);

const MAGIC: [u8; 8] = *b"pulse/1\n";
const NONCE: usize = 32;
const FIELDS: usize = 8 + 1 + 2 + 2 + 8;
const HELLO: usize = FIELDS + NONCE;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Messages between the first process and another.
    Control = 1,
    /// Frames between workers.
    Data = 2,
    /// Only to see that the other is alive.
    Watch = 3,
}

/// Who connects to whom, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What for.
    pub purpose: Purpose,
    /// The process that connects.
    pub from: u16,
    /// The process that it wants.
    pub to: u16,
    /// Their generation; 0 while it is not known.
    pub generation: u64,
}
impl Hello {
    fn bytes(self) -> [u8; FIELDS] {
        let mut bytes = [0; FIELDS];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = self.purpose as u8;
        bytes[9..11].copy_from_slice(&self.from.to_be_bytes());
        bytes[11..13].copy_from_slice(&self.to.to_be_bytes());
        bytes[13..].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }
    fn parse(bytes: &[u8; HELLO]) -> Option<Hello> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let ([purpose, a, b, c, d], rest) = rest.split_first_chunk::<5>()?;
        let purpose = [Purpose::Control, Purpose::Data, Purpose::Watch].into_iter().find(|p| *p as u8 == *purpose)?;
        let hello = Hello {
            purpose,
            from: u16::from_be_bytes([*a, *b]),
            to: u16::from_be_bytes([*c, *d]),
            generation: u64::from_be_bytes(*rest.first_chunk::<8>()?),
        };
        (*magic == MAGIC).then_some(hello)
    }
}

fn nonce() -> Result<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| Error::other(e.to_string()))?;
    Ok(nonce)
}
fn refused() -> Error {
    Error::new(ErrorKind::PermissionDenied, "the other side does not know the secret")
}

/// Reads exactly so many bytes until a moment: a peer that drips must not hold a thread.
fn read<const N: usize>(stream: &mut TcpStream, until: Instant) -> Result<[u8; N]> {
    let (mut bytes, mut have) = ([0; N], 0);
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(rest) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(bytes)
}

/// The side that connects.
pub fn connect(stream: &mut TcpStream, hello: Hello, secret: &Secret) -> Result<()> {
    let until = Instant::now() + TIME;
    stream.set_write_timeout(Some(TIME))?;
    let (fields, mine) = (hello.bytes(), nonce()?);
    stream.write_all(&[&fields[..], &mine].concat())?;
    let theirs: [u8; NONCE] = read(stream, until)?;
    let proof: [u8; PROOF] = read(stream, until)?;
    if !secret.verify(&[b"acceptor", &fields, &mine, &theirs], &proof) {
        return Err(refused());
    }
    stream.write_all(&secret.prove(&[b"connector", &fields, &mine, &theirs]))?;
    done(stream)
}

/// The side that is connected to, as process `me`. Nothing of the hello is believed before its proof.
pub fn accept(stream: &mut TcpStream, me: u16, secret: &Secret) -> Result<Hello> {
    let until = Instant::now() + TIME;
    stream.set_write_timeout(Some(TIME))?;
    let bytes: [u8; HELLO] = read(stream, until)?;
    let hello = Hello::parse(&bytes).filter(|hello| hello.to == me && hello.from != me);
    let hello = hello.ok_or_else(|| Error::new(ErrorKind::InvalidData, "this is no greeting for us"))?;
    let (fields, theirs) = bytes.split_at(FIELDS);
    let mine = nonce()?;
    let proof = secret.prove(&[b"acceptor", fields, theirs, &mine]);
    stream.write_all(&[&mine[..], &proof].concat())?;
    let proof: [u8; PROOF] = read(stream, until)?;
    if !secret.verify(&[b"connector", fields, theirs, &mine], &proof) {
        return Err(refused());
    }
    done(stream)?;
    Ok(hello)
}

fn done(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    stream.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::TcpListener;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (there, listener.accept().unwrap().0)
    }
    fn hello(purpose: Purpose) -> Hello {
        Hello { purpose, from: 3, to: 1, generation: 1 << 40 }
    }
    fn both(hello: Hello, theirs: &Secret, ours: &Secret) -> (Result<()>, Result<Hello>) {
        let (mut there, mut here) = pair();
        std::thread::scope(|scope| {
            let connecting = scope.spawn(move || connect(&mut there, hello, theirs));
            let accepted = accept(&mut here, 1, ours);
            drop(here);
            (connecting.join().unwrap(), accepted)
        })
    }

    #[test]
    fn who_knows_the_secret_comes_in_with_what_it_said() {
        let secret = secret("one secret of this test");
        for purpose in [Purpose::Control, Purpose::Data, Purpose::Watch] {
            let (connected, accepted) = both(hello(purpose), &secret, &secret);
            connected.unwrap();
            assert_eq!(accepted.unwrap(), hello(purpose));
        }
        assert!(both(Hello { to: 2, ..hello(Purpose::Data) }, &secret, &secret).1.is_err(), "meant for another");
        assert!(both(Hello { from: 1, ..hello(Purpose::Data) }, &secret, &secret).1.is_err(), "from ourselves");
    }

    #[test]
    fn another_secret_is_refused_by_both_sides() {
        let (connected, accepted) =
            both(hello(Purpose::Data), &secret("one secret of this test"), &secret("another secret of this"));
        assert_eq!(connected.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(accepted.is_err());
    }

    /// What an acceptor says to one is worth nothing to another: a proof is for its nonces, role and purpose.
    #[test]
    fn a_proof_cannot_be_used_again() {
        let secret = secret("one secret of this test");
        let (mut there, mut here) = pair();
        let secret2 = secret.clone();
        let acceptor = std::thread::spawn(move || accept(&mut here, 1, &secret2));
        let mine = [7; NONCE];
        there.write_all(&[&hello(Purpose::Data).bytes()[..], &mine].concat()).unwrap();
        let until = Instant::now() + TIME;
        let _: [u8; NONCE] = read(&mut there, until).unwrap();
        let proof: [u8; PROOF] = read(&mut there, until).unwrap();
        there.write_all(&proof).unwrap(); // its own, thrown back
        assert_eq!(acceptor.join().unwrap().unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn garbage_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), magic: bool) {
            let (mut there, mut here) = pair();
            if magic {
                let _ = there.write_all(&MAGIC);
            }
            let _ = there.write_all(&bytes);
            drop(there);
            prop_assert!(accept(&mut here, 1, &secret("one secret of this test")).is_err());
        }
    }
}
