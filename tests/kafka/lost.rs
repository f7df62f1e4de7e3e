//! Answers of a broker that get lost on their way: the request was carried out, and who sent it cannot know.
//!
//! A real broker names a proxy to its clients. The proxy swallows what the broker says, then closes the connections.

use crate::broker::{self, *};
use crate::kill::verify;
use crate::program::Pulse;
use crate::same::*;
use pulse::log::KafkaLog;
use pulse_dataflows::ports::EventLog;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// Port of the broker, and of the proxy.
const BROKER: u16 = PORT + 30;
const PROXY: u16 = PORT + 35;

/// Passes bytes on; replies can be swallowed.
pub struct Proxy {
    swallow: AtomicBool,
    swallowed: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}
impl Proxy {
    fn start(port: u16, to: u16) -> Arc<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let proxy = Arc::new(Proxy { swallow: false.into(), swallowed: 0.into(), open: Mutex::default() });
        let shared = proxy.clone();
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                shared.open.lock().unwrap().extend([here.try_clone().unwrap(), there.try_clone().unwrap()]);
                let (mut ask, mut asked) = (here.try_clone().unwrap(), there.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut ask, &mut asked);
                    let _ = asked.shutdown(Shutdown::Both);
                });
                let of = shared.clone();
                std::thread::spawn(move || of.replies(there, here));
            }
        });
        proxy
    }
    fn replies(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 65536];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if self.swallow.load(Acquire) {
                self.swallowed.fetch_add(n as u64, AcqRel);
            } else if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
    /// What the broker says is lost for a while, then every connection breaks.
    fn lose(&self, pause: Duration) {
        self.swallow.store(true, Release);
        std::thread::sleep(pause);
        for stream in std::mem::take(&mut *self.open.lock().unwrap()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        std::thread::sleep(Duration::from_millis(20)); // replies that are on their way belong to no connection any more
        self.swallow.store(false, Release);
    }
}

/// The proxy's address, and the proxy; one test at a time.
pub fn through() -> (String, Arc<Proxy>, MutexGuard<'static, ()>) {
    static STARTED: OnceLock<Arc<Proxy>> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let address = format!("127.0.0.1:{PROXY}");
    let proxy = STARTED.get_or_init(|| {
        broker::start(BROKER, &[("KAFKA_ADVERTISED", &address)]);
        Proxy::start(PROXY, BROKER)
    });
    (address, proxy.clone(), alone)
}

/// Appends whose answers are lost are sent again by the library; the broker keeps each once, in order.
#[test]
fn an_append_whose_answer_is_lost_is_there_once() {
    let (address, proxy, _alone) = through();
    let log = KafkaLog::open(&address, &broker::config(2), options()).unwrap();
    let done = AtomicBool::new(false);
    let mut sent = 0u32;
    std::thread::scope(|s| {
        s.spawn(|| {
            for round in 0..6 {
                std::thread::sleep(Duration::from_millis(150 + 70 * round));
                proxy.lose(Duration::from_millis(100));
            }
            done.store(true, Release);
        });
        // a machine that is slow gets its appends behind the losses
        while !done.load(Acquire) || sent <= 20 {
            log.append_wait(input([RAW0, RAW1][(sent % 2) as usize], &[sent.to_string()])).unwrap();
            sent += 1;
        }
    });
    let swallowed = proxy.swallowed.load(Acquire);
    println!("{sent} appends, {swallowed} bytes of answers lost");
    assert!(swallowed > 0);
    for (p, first) in [(RAW0, 0), (RAW1, 1)] {
        let want: Vec<Vec<u8>> = (first..sent).step_by(2).map(|i| i.to_string().into_bytes()).collect();
        assert_eq!(read(&*log, p), want);
    }
}

/// The same for the whole program: no entry is torn, no output comes twice.
#[test]
fn lost_answers_tear_no_epoch_and_repeat_no_output() {
    let (address, proxy, _alone) = through();
    let mut pulse = Pulse::new(&address, 2);
    let mut events = Events::new(seed());
    pulse.spawn(2, &[]);
    pulse.ready();
    let before = proxy.swallowed.load(Acquire);
    std::thread::scope(|s| {
        let losing = s.spawn(|| {
            for round in 0..5 {
                std::thread::sleep(Duration::from_millis(300 + 90 * round));
                proxy.lose(Duration::from_millis(100));
            }
        });
        while !losing.is_finished() {
            pulse.send(&events.next(20));
        }
    });
    println!("{} bytes of answers lost", proxy.swallowed.load(Acquire) - before);
    pulse.send(&events.next(20));
    pulse.settled();
    assert!(pulse.child.as_mut().unwrap().try_wait().unwrap().is_none(), "{}", pulse.said());
    pulse.stop();
    no_repeats(&*KafkaLog::open_reader(&address, &pulse.kafka).unwrap());
    assert!(verify(&pulse) > 20);
}
