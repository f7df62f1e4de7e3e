//! A link between two processes: messages both ways, and a beat when there is nothing to say. A side that hears nothing for the
//! heartbeat time, or finds the link closed, says so once: then its process ends, because a dataflow without one of its
//! processes stands still for ever without a word.
//!
//! Deliberately absent: coming back. A generation lives and dies together.

use super::wire::{self, Message};
use std::io::BufReader;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Messages that wait to be sent: acknowledgements of the epochs in flight of all workers, many times over.
const WAITING: usize = 1 << 14;
/// Beats within the heartbeat time, so that one that is late costs nothing.
const BEATS: u32 = 5;

/// Called once when the other side is gone: must end the process.
pub type OnLost = Arc<dyn Fn(String) + Send + Sync>;

/// The sending side.
#[derive(Clone)]
pub struct Link {
    to: SyncSender<Message>,
    peer: usize,
    ended: Arc<AtomicBool>,
    lost: OnLost,
}

impl Link {
    /// Starts its two threads. After [`Link::end`] of any link with the same `ended`, or the first loss of one,
    /// nothing is lost any more.
    pub fn start(
        stream: TcpStream,
        peer: usize,
        heartbeat: Duration,
        ended: Arc<AtomicBool>,
        lost: OnLost,
        mut take: impl FnMut(Message) + Send + 'static,
    ) -> std::io::Result<Link> {
        let (to, from) = sync_channel(WAITING);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(heartbeat))?;
        stream.set_write_timeout(Some(heartbeat))?;
        let link = Link { to, peer, ended, lost };
        let (writing, reading) = (stream.try_clone()?, stream);
        let (writer, reader) = (link.clone(), link.clone());
        std::thread::Builder::new().name(format!("to-{peer}")).spawn(move || {
            if let Err(e) = write(&writing, &from, heartbeat / BEATS) {
                writer.lose(&e.to_string());
            }
        })?;
        std::thread::Builder::new().name(format!("from-{peer}")).spawn(move || {
            let mut buffered = BufReader::new(&reading);
            loop {
                match wire::read(&mut buffered) {
                    Ok(Message::Beat) => {}
                    Ok(message) => take(message),
                    Err(e) => {
                        let silent = matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                        let why = if silent { format!("nothing was heard for {heartbeat:?}") } else { e.to_string() };
                        let _ = reading.shutdown(Shutdown::Both); // it shall know at once
                        return reader.lose(&why);
                    }
                }
            }
        })?;
        Ok(link)
    }
    /// Sends a message, in the order of the calls.
    pub fn send(&self, message: Message) {
        match self.to.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lose("it takes no messages"),
            Err(TrySendError::Disconnected(_)) => self.lose("the link is closed"),
        }
    }
    /// From now on an end of the link is no loss.
    pub fn end(&self) {
        self.ended.store(true, Release);
    }
    fn lose(&self, why: &str) {
        if !self.ended.swap(true, AcqRel) {
            (self.lost)(format!("process {} is gone: {why}", self.peer));
        }
    }
}

fn write(mut stream: &TcpStream, from: &Receiver<Message>, beat: Duration) -> std::io::Result<()> {
    loop {
        match from.recv_timeout(beat) {
            Ok(message) => wire::write(&mut stream, &message)?,
            Err(RecvTimeoutError::Timeout) => wire::write(&mut stream, &Message::Beat)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (there, listener.accept().unwrap().0)
    }

    #[test]
    fn messages_come_in_order_silence_is_noticed_and_an_end_is_not() {
        let (there, here) = pair();
        let (tx, lost) = channel();
        let tx = std::sync::Mutex::new(tx);
        let on_lost: OnLost = Arc::new(move |why| tx.lock().unwrap().send(why).unwrap());
        let (got, messages) = channel();
        let heartbeat = Duration::from_millis(400);
        let ended = Arc::<AtomicBool>::default();
        let take = move |m| got.send(m).unwrap();
        let _here = Link::start(here, 1, heartbeat, ended.clone(), on_lost.clone(), take).unwrap();
        let mut silent = there.try_clone().unwrap();
        (0..100).for_each(|i| wire::write(&mut silent, &Message::Acknowledged(0, i)).unwrap());
        (0..100).for_each(|i| assert_eq!(messages.recv().unwrap(), Message::Acknowledged(0, i)));
        assert!(lost.recv_timeout(heartbeat / 2).is_err());
        assert!(lost.recv_timeout(4 * heartbeat).unwrap().contains("process 1 is gone: nothing was heard"));
        let (there, here) = pair();
        let ended = Arc::<AtomicBool>::default();
        let link = Link::start(here, 2, heartbeat, ended, on_lost, |_| {}).unwrap();
        link.end();
        drop(there);
        assert!(lost.recv_timeout(heartbeat).is_err(), "it had ended");
    }
}
