//! A connection to PostgreSQL for threads that wait: every step has its time.
//!
//! The system notices a server whose machine is gone; one that is frozen, or a network that swallows answers, it does not. So
//! no answer is waited for longer than the server itself would let the question run, and then the connection is given up.
//! Deliberately absent: what is asked, and who holds the connection for how long.

use super::error::{Error, Result};
use bytes::Bytes;
use futures::SinkExt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row, Socket, Statement};

/// Time to say good-bye in.
const FAREWELL: Duration = Duration::from_millis(100);

type Traffic = Pin<Box<dyn Future<Output = std::result::Result<(), tokio_postgres::Error>> + Send>>;

/// A connection.
pub(super) struct Client {
    runtime: Runtime,
    /// `None` only while it is dropped.
    client: Option<tokio_postgres::Client>,
    /// What carries messages there and back; `None` once it has ended.
    traffic: Option<Traffic>,
    /// How long an answer is waited for.
    patience: Option<Duration>,
}

impl Client {
    /// Connects, within this time in all; answers are waited for as long as `patience`.
    pub(super) fn connect<T>(config: &Config, tls: T, within: Duration, patience: Option<Duration>) -> Result<Client>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Connect(error.to_string()))?;
        let connected = runtime.block_on(async { tokio::time::timeout(within, config.connect(tls)).await });
        let (client, traffic) = connected.map_err(|_| Error::Silent(within))??;
        Ok(Client { runtime, client: Some(client), traffic: Some(Box::pin(traffic)), patience })
    }

    /// Is it of no more use?
    pub(super) fn is_closed(&self) -> bool {
        self.traffic.is_none() || self.client.as_ref().is_none_or(tokio_postgres::Client::is_closed)
    }

    /// Runs one step with the traffic it causes.
    fn step<'a, R, F>(
        &'a mut self,
        patience: Option<Duration>,
        work: impl FnOnce(&'a tokio_postgres::Client) -> F,
    ) -> Result<R>
    where
        F: Future<Output = std::result::Result<R, tokio_postgres::Error>>,
    {
        let Client { runtime, client, traffic, .. } = self;
        let client = client.as_ref().ok_or(Error::Silent(Duration::ZERO))?;
        drive(runtime, traffic, patience, work(client))
    }

    /// Does the server answer within this time?
    pub(super) fn answers(&mut self, within: Duration) -> bool {
        self.step(Some(within), |client| client.simple_query("")).is_ok()
    }

    /// Statements without values, as they stand.
    pub(super) fn batch_execute(&mut self, text: &str) -> Result<()> {
        self.step(self.patience, |client| client.batch_execute(text))
    }

    /// Prepares a text.
    pub(super) fn prepare(&mut self, text: &str) -> Result<Statement> {
        self.step(self.patience, |client| client.prepare(text))
    }

    /// Runs a statement; the number of rows it changed.
    pub(super) fn execute(&mut self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        self.step(self.patience, |client| client.execute(statement, values))
    }

    /// All rows of a question.
    pub(super) fn query(&mut self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.step(self.patience, |client| client.query(statement, values))
    }

    /// The first value of the only row of a question in text.
    pub(super) fn ask(&mut self, text: &str) -> Result<String> {
        let row = self.step(self.patience, |client| client.query_one(text, &[]))?;
        Ok(row.try_get(0)?)
    }

    /// Hands out row after row, without holding them all.
    pub(super) fn each(
        &mut self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
        mut take: impl FnMut(&Row) -> Result<()>,
    ) -> Result<()> {
        use futures::TryStreamExt;
        let values = values.iter().copied();
        let rows = self.step(self.patience, |client| client.query_raw(statement, values))?;
        let mut rows = pin!(rows);
        while let Some(row) = drive(&self.runtime, &mut self.traffic, self.patience, rows.as_mut().try_next())? {
            take(&row)?;
        }
        Ok(())
    }

    /// COPY from what `next` gives, until that is nothing; the number of rows.
    pub(super) fn copy_in(&mut self, text: &str, mut next: impl FnMut() -> Result<Option<Bytes>>) -> Result<u64> {
        let sink = self.step(self.patience, |client| client.copy_in::<_, Bytes>(text))?;
        let mut sink = pin!(sink);
        while let Some(bytes) = next()? {
            drive(&self.runtime, &mut self.traffic, self.patience, sink.as_mut().send(bytes))?;
        }
        drive(&self.runtime, &mut self.traffic, self.patience, sink.as_mut().finish())
    }
}

impl Drop for Client {
    /// Says good-bye, so that the server need not wonder.
    fn drop(&mut self) {
        drop(self.client.take());
        if let Some(traffic) = self.traffic.take() {
            // a server that does not hear it notices the closed socket
            let _ = self.runtime.block_on(async { tokio::time::timeout(FAREWELL, traffic).await });
        }
    }
}

/// Runs `work` and the traffic until the work is done, at most for as long as `patience`.
fn drive<R>(
    runtime: &Runtime,
    traffic: &mut Option<Traffic>,
    patience: Option<Duration>,
    work: impl Future<Output = std::result::Result<R, tokio_postgres::Error>>,
) -> Result<R> {
    let mut work = pin!(work);
    let both = poll_fn(|cx| {
        match traffic.as_mut().map(|traffic| traffic.as_mut().poll(cx)) {
            Some(Poll::Ready(ended)) => {
                *traffic = None;
                // what the server said last is why
                if let Err(error) = ended {
                    return Poll::Ready(Err(error));
                }
            }
            Some(Poll::Pending) | None => {}
        }
        work.as_mut().poll(cx)
    });
    runtime.block_on(async {
        match patience {
            None => Ok(both.await?),
            Some(patience) => match tokio::time::timeout(patience, both).await {
                Ok(result) => Ok(result?),
                Err(_) => {
                    // its answer would be taken for that of the next question
                    Err(Error::Silent(patience))
                }
            },
        }
    })
}
