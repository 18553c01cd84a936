//! The rows that the wire's benches write and read: always the same, of varying length.

/// Nine values as a result's or a COPY's text has them, one of them NULL now and then:
/// bigint, uuid, text, numeric, text[], jsonb, timestamptz, timestamptz, text.
pub(crate) fn nine(i: u32) -> Vec<Option<Vec<u8>>> {
    let n = noise(i);
    let values = [
        (u64::from(i) * 3037).to_string(),
        format!("{n:08x}-4c1e-4c6f-9b1d-{:012x}", u64::from(n) * 31),
        words(n, 38),
        format!("{}.{:02}", n % 100_000, n % 100),
        format!("{{{},{}}}", words(n + 1, 7), words(n + 2, 7)),
        format!("{{\"sku\": \"{}\", \"qty\": {}}}", words(n + 3, 16), n % 50),
        format!("2024-03-04 12:{:02}:{:02}.{:06}+00", n % 60, i % 60, i),
        format!("2024-03-05 08:{:02}:{:02}.{:06}+00", i % 60, n % 60, i),
        ["new", "paid", "shipped", "returned"][n as usize % 4].to_owned(),
    ];
    let null = |column| column == 7 && n.is_multiple_of(8);
    let values = values.into_iter().enumerate();
    values.map(|(column, text)| (!null(column)).then(|| text.into_bytes())).collect()
}

/// The same with something to escape in every row: a path, and lines.
pub(crate) fn nine_escaped(i: u32) -> Vec<Option<Vec<u8>>> {
    let mut row = nine(i);
    row[2] = Some(format!("C:\\{}\\{}", words(i, 12), words(i + 1, 20)).into_bytes());
    row[5] = Some(format!("first\n\tsecond {}\n", words(i, 9)).into_bytes());
    row
}

/// So many values, every tenth of them NULL.
pub(crate) fn values(count: u32, i: u32) -> Vec<Option<Vec<u8>>> {
    let value = |c| words(i * 61 + c, 24).into_bytes();
    (0..count).map(|c| (c % 10 != 9).then(|| value(c))).collect()
}

/// Text of words, at most so long.
fn words(seed: u32, most: usize) -> String {
    let words = ["amber", "basalt", "cedar", "dune", "ember", "fjord", "grove", "harbour"];
    let mut text = String::new();
    let mut n = seed;
    loop {
        n = noise(n);
        text.push_str(words[n as usize % words.len()]);
        if text.len() + 1 >= most / 2 + n as usize % (most / 2 + 1) {
            text.truncate(most);
            return text;
        }
        text.push(' ');
    }
}

/// A number that looks like chance and is always the same.
const fn noise(n: u32) -> u32 {
    let n = (n ^ 61 ^ n >> 16).wrapping_mul(9);
    let n = (n ^ n >> 4).wrapping_mul(0x27d4_eb2d);
    n ^ n >> 15
}
