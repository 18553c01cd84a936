//! How fast messages are written, split and read, without any socket: bytes/s, and messages or
//! rows a second where they are what counts.

#[path = "wire/inputs.rs"]
mod inputs;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pghost::wire::{
    BackendMessage, CopyBinaryReader, CopyBinaryWriter, Format, Frame, FrameLimits, Frames, Reader,
    TextRowWriter, TextRows, Writer, complete_frames,
};

type Row = Vec<Option<Vec<u8>>>;

const MIB: usize = 1 << 20;
const ROWS: u32 = 1000;

/// Bind messages into a buffer that is used again, as a connection's is.
fn bind(c: &mut Criterion) {
    let mut group = c.benchmark_group("bind");
    let narrow: Vec<_> = (0..ROWS).map(|i| inputs::values(3, i)).collect();
    let wide = [inputs::values(60, 1)];
    for (name, rows) in [
        ("3 parameters", &narrow[..1]),
        ("60 parameters", &wide[..]),
        ("3 parameters, 1000 messages", &narrow[..]),
    ] {
        let mut writer = Writer::new();
        write_binds(&mut writer, rows);
        group.throughput(elements_and_bytes(rows.len(), writer.buffer().len()));
        group.bench_function(name, |b| {
            b.iter(|| {
                writer.buffer_mut().clear();
                write_binds(&mut writer, black_box(rows));
                writer.buffer().len()
            });
        });
    }
    group.finish();
}

fn write_binds(writer: &mut Writer, rows: &[Row]) {
    for row in rows {
        let mut bind = writer.bind("s1", row.iter().map(|_| Format::Text));
        for value in row {
            bind.value(value.as_deref());
        }
        bind.finish();
    }
}

/// What a connection does with each read: measure the whole frames, then walk over them.
fn split_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("split frames, 1 MiB");
    for (name, bytes) in [("DataRow of one int", data_rows(MIB)), ("CopyData of 32 KiB", copies())]
    {
        group.throughput(elements_and_bytes(Frames::new(&bytes).count(), bytes.len()));
        group.bench_function(name, |b| {
            b.iter(|| {
                let bytes = black_box(&bytes[..]);
                let (whole, _) = complete_frames(bytes, FrameLimits::Session).expect("frames");
                let frames = Frames::new(&bytes[..whole]);
                frames.map(|frame| usize::from(frame.tag) + frame.body.len()).sum::<usize>()
            });
        });
    }
    group.finish();
}

fn data_rows(most: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    for i in 0.. {
        data_row(&mut writer, &[Some(i.to_string().into_bytes())]);
        if writer.buffer().len() >= most {
            break;
        }
    }
    writer.buffer().to_vec()
}

fn data_row(writer: &mut Writer, row: &[Option<Vec<u8>>]) {
    let mut message = writer.message(b'D');
    message.u16(row.len().try_into().expect("few columns"));
    for value in row {
        message.value(value.as_deref());
    }
    message.finish();
}

fn copies() -> Vec<u8> {
    let mut writer = Writer::new();
    for _ in 0..MIB / (32 * 1024) {
        writer.copy_data(&[b'x'; 32 * 1024]);
    }
    writer.buffer().to_vec()
}

/// From frames to values.
fn read_data_rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("read DataRow");
    let mut writer = Writer::new();
    (0..ROWS).for_each(|i| data_row(&mut writer, &inputs::nine(i)));
    let bytes = &writer.buffer()[..];
    group.throughput(elements_and_bytes(ROWS as usize, bytes.len()));
    group.bench_function("nine columns, all values", |b| {
        b.iter(|| Frames::new(black_box(bytes)).map(read_data_row).sum::<usize>());
    });
    group.finish();
}

fn read_data_row(frame: Frame<'_>) -> usize {
    match BackendMessage::parse(frame) {
        Ok(BackendMessage::DataRow(row)) => row.values().flatten().map(<[u8]>::len).sum(),
        _ => panic!("not a row"),
    }
}

/// COPY rows, from bytes to values and back.
fn copy_rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("COPY, nine columns");
    let plain: Vec<_> = (0..ROWS).map(inputs::nine).collect();
    let escaped: Vec<_> = (0..ROWS).map(inputs::nine_escaped).collect();
    let mut buffer = BytesMut::new();
    for (name, rows) in [("text", &plain), ("text, escapes", &escaped)] {
        buffer.clear();
        write_text(&mut buffer, rows);
        let bytes = buffer.to_vec();
        group.throughput(elements_and_bytes(rows.len(), bytes.len()));
        group.bench_function(format!("split {name}"), |b| {
            b.iter(|| TextRows::new(black_box(&bytes)).filter(Result::is_ok).count());
        });
        group.bench_function(format!("read {name}"), |b| b.iter(|| read_text(black_box(&bytes))));
        group.bench_function(format!("write {name}"), |b| {
            b.iter(|| {
                buffer.clear();
                write_text(&mut buffer, black_box(rows));
            });
        });
    }
    buffer.clear();
    write_binary(&mut buffer, &plain);
    let bytes = buffer.to_vec();
    group.throughput(elements_and_bytes(plain.len(), bytes.len()));
    group.bench_function("read binary", |b| b.iter(|| read_binary(black_box(&bytes))));
    group.bench_function("write binary", |b| {
        b.iter(|| {
            buffer.clear();
            write_binary(&mut buffer, black_box(&plain));
        });
    });
    group.finish();
}

fn write_text(buffer: &mut BytesMut, rows: &[Row]) {
    for row in rows {
        let mut out = TextRowWriter::new(buffer);
        for value in row {
            out.field(value.as_deref());
        }
        out.end_row();
    }
}

fn read_text(bytes: &[u8]) -> usize {
    let mut sum = 0;
    for row in TextRows::new(bytes) {
        let fields = row.expect("rows as written").fields();
        sum += fields.flatten().map(|field| field.unescape().len()).sum::<usize>();
    }
    sum
}

fn write_binary(buffer: &mut BytesMut, rows: &[Row]) {
    let mut copy = CopyBinaryWriter::new(buffer);
    copy.header();
    for row in rows {
        let mut out = copy.row();
        for value in row {
            out.field(value.as_deref());
        }
        out.end_row();
    }
    copy.trailer();
}

fn read_binary(bytes: &[u8]) -> usize {
    let mut sum = 0;
    let mut reader = CopyBinaryReader::new();
    let mut r = Reader::new(bytes);
    while let Some(row) = reader.row(&mut r).expect("rows as written") {
        sum += row.fields().flatten().map(<[u8]>::len).sum::<usize>();
    }
    sum
}

const fn elements_and_bytes(elements: usize, bytes: usize) -> Throughput {
    Throughput::ElementsAndBytes { elements: elements as u64, bytes: bytes as u64 }
}

criterion_group!(benches, bind, split_frames, read_data_rows, copy_rows);
criterion_main!(benches);
