//! What the client does, and what it may do afterwards.

use pghost::{
    config::Config,
    conn::{Connection, CopyBoth, Error, Pipeline},
    pg::Oid,
    wire::Format,
};

use super::{backend::message, server::connect};

/// Something that is asked of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Nothing but to connect.
    Connect,
    Query,
    /// Parse, Bind, Describe, Execute, Sync.
    Bound,
    Prepare,
    /// Prepare, then Bind, Describe, Execute, Sync.
    Run,
    /// Prepare, then Close, Sync.
    Forget,
    CopyOut,
    CopyIn,
    /// COPY IN that ends with CopyFail.
    CopyFail,
    /// CopyBoth up to its first frames.
    Stream,
    /// CopyBoth, ended at once.
    StreamClosed,
    /// A pipeline up to the first statement that has run.
    Completed,
    /// The same with a Sync, which is waited for too.
    Synced,
    /// A pipeline that fails, and then gets its Sync.
    Resumed,
    /// A pipeline that waits with nothing queued.
    Waiting,
    /// A pipeline that is closed with all of it on its way.
    PipelineClosed,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) first: Result<(), Error>,
    /// What became of using the connection once more; `None` where none was left.
    pub(crate) again: Option<Result<(), Error>>,
}

impl Outcome {
    const fn failed(error: Error) -> Self {
        Self { first: Err(error), again: None }
    }
}

/// Connects, does it, and uses the connection once more. What is asked is dropped half way when
/// `dropped` comes first.
pub(crate) async fn run(op: Op, config: &Config, dropped: impl Future) -> Outcome {
    let mut connection = match connect(config).await {
        Ok(connection) => connection,
        Err(error) => return Outcome::failed(error),
    };
    match op {
        Op::Connect => Outcome { first: Ok(()), again: Some(again(&mut connection).await) },
        Op::Stream | Op::StreamClosed => stream(op, connection).await,
        Op::Completed | Op::Synced | Op::Resumed | Op::Waiting | Op::PipelineClosed => {
            pipeline(op, connection).await
        }
        _ => {
            let first = tokio::select! {
                biased;
                _ = dropped => Ok(()),
                asked = Box::pin(ask(op, &mut connection)) => asked,
            };
            Outcome { first, again: Some(again(&mut connection).await) }
        }
    }
}

pub(crate) async fn again(connection: &mut Connection) -> Result<(), Error> {
    connection.query("SELECT 'again'").await.map(drop)
}

async fn ask(op: Op, connection: &mut Connection) -> Result<(), Error> {
    match op {
        Op::Query => connection.query("SELECT 1").await.map(drop),
        Op::Bound => {
            let asked = connection.query_bound("SELECT $1", &[Oid(23)], &TEXT, &[Some(b"1")]);
            asked.await.map(drop)
        }
        Op::Prepare => connection.prepare("s", "SELECT 1", &[]).await.map(drop),
        Op::Run => {
            let statement = connection.prepare("s", "SELECT $1", &[]).await?;
            connection.run(&statement, &TEXT, &[Some(b"1")]).await.map(drop)
        }
        Op::Forget => {
            let statement = connection.prepare("s", "SELECT 1", &[]).await?;
            connection.forget(statement).await
        }
        Op::CopyOut => copy_out(connection).await,
        Op::CopyIn | Op::CopyFail => copy_in(op, connection).await,
        _ => unreachable!("{op:?} takes the connection with it"),
    }
}

const TEXT: [Format; 1] = [Format::Text];

async fn copy_out(connection: &mut Connection) -> Result<(), Error> {
    connection.queue_query("COPY t TO STDOUT");
    let mut copy = connection.copy_out().await?;
    loop {
        match copy.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return copy.finish().await.map(drop),
            Err(error) => {
                assert!(copy.next().await.is_err(), "goes on after {error}");
                assert!(copy.finish().await.is_err(), "ends well after {error}");
                return Err(error);
            }
        }
    }
}

async fn copy_in(op: Op, connection: &mut Connection) -> Result<(), Error> {
    connection.queue_query("COPY t FROM STDIN");
    let mut copy = connection.copy_in().await?;
    if op == Op::CopyFail {
        return copy.fail("no more").await;
    }
    // Enough to be sent before the end.
    let frames = message(b'd', &[b'x'; 1_000]).repeat(200);
    for _ in 0..3 {
        if let Err(error) = copy.forward(&frames).await {
            assert!(copy.forward(&frames).await.is_err(), "goes on after {error}");
            assert!(copy.finish().await.is_err(), "ends well after {error}");
            return Err(error);
        }
    }
    copy.finish().await.map(drop)
}

async fn stream(op: Op, connection: Connection) -> Outcome {
    let mut copy = match connection.copy_both("START_REPLICATION").await {
        Ok(copy) => copy,
        Err(error) => return Outcome::failed(error),
    };
    if op == Op::StreamClosed {
        return match copy.close().await {
            Ok(mut connection) => {
                Outcome { first: Ok(()), again: Some(again(&mut connection).await) }
            }
            Err(error) => Outcome::failed(error),
        };
    }
    let first = copy.frames().await.map(drop);
    if let Err(error) = &first {
        assert!(copy.frames().await.is_err(), "goes on after {error}");
    }
    Outcome { first, again: Some(stream_again(copy).await) }
}

async fn stream_again(copy: CopyBoth) -> Result<(), Error> {
    again(&mut copy.close().await?).await
}

/// A pipeline with one statement queued.
pub(crate) fn queued(connection: Connection) -> Pipeline {
    let mut pipeline = Pipeline::new(connection).unwrap();
    pipeline.prepare("s", "SELECT 1", &[]);
    pipeline.execute("s", TEXT[..0].iter().copied(), |_| {});
    pipeline
}

async fn pipeline(op: Op, connection: Connection) -> Outcome {
    let mut pipeline = match op {
        Op::Waiting => Pipeline::new(connection).unwrap(),
        _ => queued(connection),
    };
    match op {
        Op::Synced | Op::PipelineClosed => pipeline.sync(),
        Op::Resumed => {
            assert!(matches!(pipeline.completed().await, Err(Error::Server(_))));
            pipeline.sync();
        }
        _ => {}
    }
    let mut first = Ok(());
    if op != Op::PipelineClosed {
        for _ in 0..if op == Op::Synced { 2 } else { 1 } {
            first = first.and(pipeline.completed().await.map(drop));
        }
        if let Err(error) = &first
            && !matches!(error, Error::Server(_))
        {
            assert!(pipeline.completed().await.is_err(), "goes on after {error}");
        }
    }
    match pipeline.close().await {
        Ok(mut connection) => Outcome { first, again: Some(again(&mut connection).await) },
        Err(error) if op == Op::PipelineClosed => Outcome::failed(error),
        Err(error) => Outcome { first, again: Some(Err(error)) },
    }
}
