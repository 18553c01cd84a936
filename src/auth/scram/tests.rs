//! SCRAM's messages, right and wrong, state by state.

use super::*;

/// RFC 7677, section 3: the user is `user`, the password `pencil`.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn client_first() -> ClientFirst {
    ClientFirst::with_user_and_nonce(b"pencil", Binding::Unsupported, "user", NONCE.to_owned())
}

fn hashed(first: ClientFirst, server_first: &str) -> ClientFinal {
    let mut hashing = first.receive(server_first.as_bytes()).unwrap();
    loop {
        hashing = match hashing.go_on() {
            Hashed::Not(hashing) => hashing,
            Hashed::All(client_final) => return client_final,
        };
    }
}

fn client_final() -> ClientFinal {
    hashed(client_first(), SERVER_FIRST)
}

#[test]
fn the_example_of_the_rfc_succeeds() {
    let first = client_first();
    assert_eq!(first.mechanism(), "SCRAM-SHA-256");
    assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let last = hashed(first, SERVER_FIRST);
    assert_eq!(last.message(), CLIENT_FINAL);
    let proof = last.receive(SERVER_FINAL.as_bytes()).unwrap();
    assert!(!proof.is_channel_bound());
}

#[test]
fn a_server_first_message_must_be_whole_and_in_order() {
    use ScramError::Malformed;
    // What follows our nonce.
    let cases = [
        ("no salt", "x,i=1", Malformed("s")),
        ("no count", "x,s=AAAA", Malformed("i")),
        ("wrong order", "x,i=1,s=AAAA", Malformed("s")),
        ("an empty salt", "x,s=,i=1", Malformed("s")),
        ("no base64", "x,s=A*AA,i=1", Malformed("s")),
        ("no padding", "x,s=AAA,i=1", Malformed("s")),
        ("an empty count", "x,s=AAAA,i=", Malformed("i")),
        ("no number", "x,s=AAAA,i=x", Malformed("i")),
        ("a sign", "x,s=AAAA,i=+1", Malformed("i")),
        ("no rounds", "x,s=AAAA,i=0", Malformed("i")),
        ("an extension", "x,s=AAAA,i=1,x=1", Malformed("end")),
        ("a comma at the end", "x,s=AAAA,i=1,", Malformed("end")),
        ("a space", " x,s=AAAA,i=1", Malformed("r")),
        ("a zero byte", "x,s=AAAA,i=1\0", Malformed("r")),
        ("a letter beyond ASCII", "\u{e9},s=AAAA,i=1", Malformed("r")),
        ("nothing added to our nonce", ",s=AAAA,i=1", ScramError::NonceMismatch),
    ];
    for (name, tail, expected) in cases {
        let message = format!("r={NONCE}{tail}");
        let error = client_first().receive(message.as_bytes()).err();
        assert_eq!(error, Some(expected), "{name}: {message}");
    }
}

#[test]
fn a_server_first_message_must_answer_ours() {
    let cases: [(&str, &[u8], ScramError); 6] = [
        ("nothing", b"", ScramError::Malformed("r")),
        ("no UTF-8", b"\xff", ScramError::Malformed("r")),
        ("no nonce", b"s=AAAA,i=1", ScramError::Malformed("r")),
        ("another nonce", b"r=xyz,s=AAAA,i=1", ScramError::NonceMismatch),
        ("a shorter nonce", b"r=rOprNGfw,s=AAAA,i=1", ScramError::NonceMismatch),
        ("a demand", b"m=x,r=xyz,s=AAAA,i=1", ScramError::MandatoryExtension),
    ];
    for (name, message, expected) in cases {
        let error = client_first().receive(message).err();
        assert_eq!(error, Some(expected), "{name}");
    }
}

#[test]
fn rounds_are_done_up_to_the_cap_and_refused_past_it() {
    assert_eq!(parse_iterations(&ITERATIONS_MAX.to_string()), Ok(ITERATIONS_MAX));
    assert_eq!(parse_iterations("1"), Ok(1));
    for count in [u64::from(ITERATIONS_MAX) + 1, u64::from(u32::MAX) + 1, u64::MAX] {
        let refused = Err(ScramError::TooManyIterations(count));
        assert_eq!(parse_iterations(&count.to_string()), refused);
    }
    let beyond = parse_iterations("18446744073709551616");
    assert_eq!(beyond, Err(ScramError::Malformed("i")));
}

#[test]
fn a_server_final_message_must_prove_that_the_server_knows_the_password() {
    let wrong = SERVER_FINAL.replace("v=6", "v=7");
    let cases = [
        ("nothing", "", ScramError::Malformed("v")),
        ("another signature", wrong.as_str(), ScramError::WrongSignature),
        ("an empty signature", "v=", ScramError::WrongSignature),
        ("a short one", "v=6rri", ScramError::WrongSignature),
        ("no base64", "v=*", ScramError::Malformed("v")),
        ("another attribute", "p=6rri", ScramError::Malformed("v")),
        ("the server's error", "e=invalid-proof", ScramError::Refused("invalid-proof".into())),
        ("an error of its own", "e=a:pw", ScramError::Refused("other-error".into())),
        ("spaces", "e=any text", ScramError::Malformed("v")),
    ];
    for (name, message, expected) in cases {
        let error = client_final().receive(message.as_bytes()).err();
        assert_eq!(error, Some(expected), "{name}: {message}");
    }
    let longer = format!("{SERVER_FINAL},x=1");
    let error = client_final().receive(longer.as_bytes()).err();
    assert_eq!(error, Some(ScramError::Malformed("v")));
    let another = ClientFirst::with_user_and_nonce(
        b"pencils",
        Binding::Unsupported,
        "user",
        NONCE.to_owned(),
    );
    let another = hashed(another, SERVER_FIRST);
    let error = another.receive(SERVER_FINAL.as_bytes()).err();
    assert_eq!(error, Some(ScramError::WrongSignature));
}

#[test]
fn the_binding_is_said_at_the_start_and_repeated_under_the_signature() {
    let cases = [
        (Binding::Unsupported, "n,,", "c=biws,", "SCRAM-SHA-256"),
        (Binding::NotOffered, "y,,", "c=eSws,", "SCRAM-SHA-256"),
        (
            Binding::TlsServerEndPoint(vec![0xff; 3]),
            "p=tls-server-end-point,,",
            "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCws////,",
            "SCRAM-SHA-256-PLUS",
        ),
    ];
    for (binding, header, attribute, mechanism) in cases {
        let first = ClientFirst::new(b"pw", binding, &[7; NONCE_BYTES]);
        assert_eq!(first.mechanism(), mechanism);
        let message = first.message();
        let nonce = message.strip_prefix(header).unwrap();
        assert_eq!(nonce, "n=,r=BwcHBwcHBwcHBwcHBwcHBwcH");
        let reply = format!("{},s=AAAA,i=1", nonce.replace("n=,r=", "r=") + "x");
        let last = hashed(first, &reply);
        assert!(last.message().starts_with(attribute), "{}", last.message());
    }
}

#[test]
fn pbkdf2_agrees_with_published_vectors() {
    // RFC 7914, section 11 (its first 32 bytes), and two widely used ones of RFC 6070's inputs.
    let cases: [(&[u8], &[u8], u32, &str); 3] = [
        (b"passwd", b"salt", 1, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
        (
            b"password",
            b"salt",
            2,
            "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43",
        ),
        (
            b"password",
            b"salt",
            4096,
            "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a",
        ),
    ];
    for (password, salt, iterations, expected) in cases {
        let bytes = {
            let mut rounds = Pbkdf2::new(password, salt, iterations);
            loop {
                // In portions that fit in, and in ones that don't.
                if let Some(bytes) = rounds.go_on(1_000) {
                    break bytes;
                }
            }
        };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }
}

#[test]
fn a_key_longer_than_a_block_is_hashed_first() {
    // RFC 4231, test case 6.
    let mac = hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/// As many as have been met on a server are done, in portions; the cap stands between them and what
/// would stop us for an hour.
#[test]
fn rounds_are_done_in_portions_up_to_the_cap() {
    let with = |rounds: u32| format!("r={NONCE}x,s=AAAA,i={rounds}");
    let hashing = client_first().receive(with(5_000_000).as_bytes()).unwrap();
    let Hashed::Not(hashing) = hashing.go_on() else { panic!("all at once") };
    assert_eq!(hashing.rounds.left, 5_000_000 - 1 - PORTION);
    for rounds in [PORTION, PORTION + 1] {
        let hashing = client_first().receive(with(rounds).as_bytes()).unwrap();
        assert!(matches!(hashing.go_on(), Hashed::All(_)), "{rounds}");
    }
    let hashing = client_first().receive(with(PORTION + 2).as_bytes()).unwrap();
    assert!(matches!(hashing.go_on(), Hashed::Not(_)));
    for rounds in [ITERATIONS_MAX + 1, 10_000_000, 1 << 31] {
        let error = client_first().receive(with(rounds).as_bytes()).err();
        assert_eq!(error, Some(ScramError::TooManyIterations(rounds.into())));
    }
}
