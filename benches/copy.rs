//! COPY forwarded from one connection to another: how much the two ends cost us.
//!
//! `cargo bench --bench copy`. The server is a thread that sends the same rows again and again, or
//! throws away what it is sent; so this is the client's side alone, sockets included, and the
//! bound for what a real server can be given. Beside it the same bytes written and read without
//! looking at them, which is what the kernel costs.

use std::{
    hint::black_box,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pghost::{
    conn::{Connection, SessionKind, parse_dsn},
    wire::Writer,
};
use tokio::runtime::Runtime;

/// What one COPY carries.
const BYTES: usize = 64 * 1024 * 1024;

/// CopyData frames with a row each, as a server sends them, and how many fit into [`BYTES`].
fn frames(row_bytes: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    let row = vec![b'x'; row_bytes];
    while writer.buffer().len() < BYTES {
        writer.copy_data(&row);
    }
    writer.buffer().to_vec()
}

/// A message with a length.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
    [&[tag][..], &length, body].concat()
}

/// Lets everybody in; answers each Query with the COPY that its first letter asks for.
fn serve(mut socket: TcpStream, frames: &[u8]) -> std::io::Result<()> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) - 4;
    std::io::copy(&mut (&socket).take(length.into()), &mut std::io::sink())?;
    let ready = message(b'Z', b"I");
    let version = message(b'S', b"server_version\x0016.0\0");
    socket.write_all(&[message(b'R', &[0; 4]), version, ready.clone()].concat())?;
    let end = [message(b'C', b"COPY 1\0"), ready].concat();
    loop {
        let mut header = [0; 5];
        if socket.read_exact(&mut header).is_err() || header[0] != b'Q' {
            return Ok(());
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut sql = vec![0; length as usize - 4];
        socket.read_exact(&mut sql)?;
        if sql[0] == b'o' {
            socket.write_all(&message(b'H', &[0; 3]))?;
            socket.write_all(frames)?;
            socket.write_all(&message(b'c', b""))?;
        } else {
            socket.write_all(&message(b'G', &[0; 3]))?;
            discard_copy(&mut socket)?;
        }
        socket.write_all(&end)?;
    }
}

/// Reads until CopyDone.
fn discard_copy(socket: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let mut header = [0; 5];
        socket.read_exact(&mut header)?;
        let mut left =
            u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize - 4;
        while left > 0 {
            let most = left.min(buffer.len());
            let n = socket.read(&mut buffer[..most])?;
            left -= n;
        }
        if header[0] == b'c' {
            return Ok(());
        }
    }
}

/// Starts a server for one connection each way, and connects.
fn connect(runtime: &Runtime, frames: &'static [u8]) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        serve(socket, frames)
    });
    let dsn = format!("host=127.0.0.1 port={port} user=u dbname=d sslmode=disable");
    let config = parse_dsn(&dsn).expect("settings");
    runtime.block_on(Connection::connect(&config, SessionKind::Sql)).expect("connected")
}

async fn forward(from: &mut Connection, into: &mut Connection) -> u64 {
    from.queue_query("out");
    into.queue_query("in");
    let mut out = from.copy_out().await.expect("begins");
    let mut copy = into.copy_in().await.expect("begins");
    while let Some(frames) = out.next().await.expect("data") {
        copy.forward(&frames).await.expect("taken");
    }
    out.finish().await.expect("ends");
    copy.finish().await.expect("ends")
}

/// The same number of bytes over a socket between two threads.
fn kernel(bytes: &'static [u8]) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let reader = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut buffer = vec![0; 256 * 1024];
        while socket.read(&mut buffer).expect("read") > 0 {}
    });
    let mut socket = TcpStream::connect(address).expect("connected");
    let begin = Instant::now();
    socket.write_all(bytes).expect("written");
    drop(socket);
    reader.join().expect("read");
    begin.elapsed()
}

fn copy(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("copy");
    group.sample_size(10);
    for row_bytes in [5, 280] {
        let frames: &'static [u8] = frames(row_bytes).leak();
        group.throughput(Throughput::Bytes(frames.len() as u64));
        let (mut from, mut into) = (connect(&runtime, frames), connect(&runtime, frames));
        group.bench_function(BenchmarkId::new("forward", row_bytes), |b| {
            b.iter(|| black_box(runtime.block_on(forward(&mut from, &mut into))));
        });
        group.bench_function(BenchmarkId::new("one socket, bare", row_bytes), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| kernel(frames)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, copy);
criterion_main!(benches);
