//! The table: every state, how the server gets there, and what it may send then.

use super::client::Op;

/// How what was asked ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Well, and the connection is as good as before.
    Well,
    /// With the server's error, and the connection is as good as before.
    Failed,
    /// With the server's error, and that is the end of the connection.
    Ended,
    /// As if the server had closed.
    Closed,
}

/// Where a session is, and what may happen there.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: &'static str,
    pub(crate) op: Op,
    /// Settings besides those that every session has.
    pub(crate) settings: &'static str,
    /// The script that leads here.
    pub(crate) lead: &'static str,
    /// How it goes on when nothing odd comes, and how that ends.
    pub(crate) rest: &'static str,
    pub(crate) ends: Ends,
    /// What is passed over.
    pub(crate) passes: &'static [&'static str],
    /// What may come besides, how it goes on then, and how that ends. Anything else is an error.
    pub(crate) legal: Vec<(&'static str, &'static str, Ends)>,
}

impl State {
    const fn new(name: &'static str, op: Op, lead: &'static str, rest: &'static str) -> Self {
        Self {
            name,
            op,
            settings: "",
            lead,
            rest,
            ends: Ends::Well,
            passes: &["N", "S", "A"],
            legal: Vec::new(),
        }
    }

    /// Messages that may come, with what follows them.
    fn legal(mut self, legal: &[(&'static str, &'static str)]) -> Self {
        self.legal.extend(legal.iter().map(|(name, then)| (*name, *then, self.ends)));
        self
    }

    /// ErrorResponse may come, is followed by this, and ends it so.
    fn error(mut self, then: &'static str, ends: Ends) -> Self {
        self.legal.push(("E", then, ends));
        self
    }

    /// The server's error leads here. A second one may come, and ReadyForQuery must.
    fn after_error(name: &'static str, op: Op, lead: &'static str, ends: Ends) -> Self {
        Self { ends, ..Self::new(name, op, lead, "< Z") }.legal(&[("Z", "")]).error("< Z", ends)
    }

    /// Before the server lets us in: no settings are reported, and an error is the last word.
    fn at_startup(mut self) -> Self {
        self.passes = &["N"];
        self.error("", Ends::Ended)
    }
}

/// From the socket to the first ReadyForQuery. Nothing else leads to these states.
pub(crate) fn startup() -> Vec<State> {
    let state = |name, lead, rest| State::new(name, Op::Connect, lead, rest);
    let requests: [(&str, &str); 4] = [
        ("R0", "< S K Z"),
        ("R3", "> p < R0 S K Z"),
        ("R5", "> p < R0 S K Z"),
        ("R10", "> p < R11* > p < R12* R0 S K Z"),
    ];
    let ok = ("R0", "< S K Z");
    let newer = "max_protocol_version=3.2";
    let proof = "> startup < R10 > p < R11* > p < R12*";
    vec![
        state("StartupMessage sent", "> startup", "< R0 S K Z").legal(&requests).at_startup(),
        State { settings: newer, ..state("StartupMessage 3.2 sent", "> startup", "< R0 S K Z") }
            .legal(&requests)
            .legal(&[("v", "< R0 S K Z")])
            .at_startup(),
        State { settings: newer, ..state("version agreed", "> startup < v", "< R0 S K Z") }
            .legal(&requests)
            .at_startup(),
        state("password sent", "> startup < R3 > p", "< R0 S K Z").legal(&[ok]).at_startup(),
        state("md5 sent", "> startup < R5 > p", "< R0 S K Z").legal(&[ok]).at_startup(),
        state("SASL first sent", "> startup < R10 > p", "< R11* > p < R12* R0 S K Z").at_startup(),
        state("SASL final sent", "> startup < R10 > p < R11* > p", "< R12* R0 S K Z").at_startup(),
        state("server proved", proof, "< R0 S K Z").legal(&[ok]).at_startup(),
        State {
            passes: &["N", "S"],
            ..state("authenticated", "> startup < R0 S", "< K Z")
                .legal(&[("K", "< Z"), ("Z", "")])
                .error("", Ends::Ended)
        },
        State {
            passes: &["N", "S"],
            ..state("key known", "> startup < R0 S K", "< Z")
                .legal(&[("Z", "")])
                .error("", Ends::Ended)
        },
    ]
}

/// Simple queries.
pub(crate) fn query() -> Vec<State> {
    let state = |name, lead, rest| State::new(name, Op::Query, lead, rest);
    vec![
        state("idle", "", "> Q < C Z").error("", Ends::Ended),
        state("Query sent", "> Q", "< C Z")
            .legal(&[("T", "< D C Z"), ("C", "< Z"), ("I", "< Z")])
            .error("< Z", Ends::Failed),
        state("in rows", "> Q < T D", "< C Z")
            .legal(&[("D", "< C Z"), ("C", "< Z")])
            .error("< Z", Ends::Failed),
        state("statement ended", "> Q < T D C", "< Z")
            .legal(&[("T", "< C Z"), ("C", "< Z"), ("I", "< Z"), ("Z", "")])
            .error("< Z", Ends::Failed),
        State::after_error("query failed", Op::Query, "> Q < T D E", Ends::Failed),
    ]
}

/// The extended protocol, with a Sync after each request.
pub(crate) fn extended() -> Vec<State> {
    let bound = |name, lead, rest| State::new(name, Op::Bound, lead, rest);
    let prepare = |name, lead, rest| State::new(name, Op::Prepare, lead, rest);
    let run = |name, lead, rest| State::new(name, Op::Run, lead, rest);
    let forget = |name, lead, rest| State::new(name, Op::Forget, lead, rest);
    let states = vec![
        bound("Parse sent", "> P B D E S", "< 1 2 n C Z").legal(&[("1", "< 2 n C Z")]),
        bound("Bind sent", "> P B D E S < 1", "< 2 n C Z").legal(&[("2", "< n C Z")]),
        bound("Describe sent", "> P B D E S < 1 2", "< n C Z")
            .legal(&[("n", "< C Z"), ("T", "< D C Z")]),
        bound("Execute sent", "> P B D E S < 1 2 T D", "< C Z")
            .legal(&[("D", "< C Z"), ("C", "< Z")]),
        bound("Execute without rows sent", "> P B D E S < 1 2 n", "< C Z")
            .legal(&[("C", "< Z"), ("I", "< Z")]),
        bound("Sync sent", "> P B D E S < 1 2 T D C", "< Z").legal(&[("Z", "")]),
        prepare("named Parse sent", "> P D S", "< 1 t n Z").legal(&[("1", "< t n Z")]),
        prepare("Describe of a statement sent", "> P D S < 1", "< t n Z").legal(&[("t", "< n Z")]),
        prepare("parameters described", "> P D S < 1 t", "< n Z")
            .legal(&[("n", "< Z"), ("T", "< Z")]),
        prepare("columns described", "> P D S < 1 t T", "< Z").legal(&[("Z", "")]),
        run("Bind of a statement sent", "> P D S < 1 t T Z > B D E S", "< 2 T C Z")
            .legal(&[("2", "< T C Z")]),
        run("portal of a statement", "> P D S < 1 t T Z > B D E S < 2", "< T C Z")
            .legal(&[("T", "< C Z"), ("n", "< C Z")]),
        forget("Close sent", "> P D S < 1 t T Z > C S", "< 3 Z").legal(&[("3", "< Z")]),
        forget("closed", "> P D S < 1 t T Z > C S < 3", "< Z").legal(&[("Z", "")]),
    ];
    let failed = |name, op, lead| State::after_error(name, op, lead, Ends::Failed);
    let mut states: Vec<_> =
        states.into_iter().map(|state| state.error("< Z", Ends::Failed)).collect();
    states.extend([
        failed("Bind failed", Op::Bound, "> P B D E S < 1 E"),
        failed("Execute failed", Op::Bound, "> P B D E S < 1 2 T D E"),
        failed("Parse failed", Op::Prepare, "> P D S < E"),
        failed("run failed", Op::Run, "> P D S < 1 t T Z > B D E S < E"),
        failed("Close failed", Op::Forget, "> P D S < 1 t T Z > C S < E"),
    ]);
    states
}

/// COPY in one direction.
pub(crate) fn copy() -> Vec<State> {
    let out = |name, lead, rest| State::new(name, Op::CopyOut, lead, rest);
    let into = |name, lead, rest| State::new(name, Op::CopyIn, lead, rest);
    let failed = |name, op, lead| State::after_error(name, op, lead, Ends::Failed);
    // More statements may stand in the same string.
    let more = [("T", "< C Z"), ("C", "< Z"), ("I", "< Z"), ("Z", "")];
    let states = [
        out("COPY OUT sent", "> Q", "< H d c C Z").legal(&[("H", "< d c C Z")]),
        out("COPY OUT in data", "> Q < H d", "< c C Z").legal(&[("d", "< c C Z"), ("c", "< C Z")]),
        out("COPY OUT without data", "> Q < H", "< c C Z")
            .legal(&[("d", "< c C Z"), ("c", "< C Z")]),
        out("COPY OUT done", "> Q < H d c", "< C Z").legal(&[("C", "< Z")]),
        out("COPY OUT completed", "> Q < H d c C", "< Z").legal(&more),
        into("COPY IN sent", "> Q", "< G > c < C Z").legal(&[("G", "> c < C Z")]),
        into("COPY IN in data", "> Q < G", "> c < C Z"),
        into("CopyDone sent", "> Q < G > c", "< C Z").legal(&[("C", "< Z")]),
        into("COPY IN completed", "> Q < G > c < C", "< Z").legal(&more),
    ];
    let mut states: Vec<_> =
        states.into_iter().map(|state| state.error("< Z", Ends::Failed)).collect();
    states.extend([
        failed("COPY OUT failed", Op::CopyOut, "> Q < H d E"),
        failed("COPY OUT failed at its end", Op::CopyOut, "> Q < H d c E"),
        failed("COPY IN failed", Op::CopyIn, "> Q < G E"),
        failed("COPY IN failed at its end", Op::CopyIn, "> Q < G > c < E"),
        // The error is what was asked for.
        State::new("CopyFail sent", Op::CopyFail, "> Q < G > f", "< E Z").error("< Z", Ends::Well),
        State::after_error("CopyFail heard", Op::CopyFail, "> Q < G > f < E", Ends::Well),
    ]);
    states
}

/// CopyBoth.
pub(crate) fn stream() -> Vec<State> {
    let state = |name, lead, rest| State::new(name, Op::Stream, lead, rest);
    let closed = |name, lead, rest| State::new(name, Op::StreamClosed, lead, rest);
    let mut open = state("streaming", "> Q < W", "< d > c < c C Z")
        .legal(&[("d", "> c < c C Z")])
        .error("< Z", Ends::Failed);
    open.legal.extend([("c", "", Ends::Closed), ("C", "", Ends::Closed)]);
    vec![
        state("START_REPLICATION sent", "> Q", "< W d > c < c C Z")
            .legal(&[("W", "< d > c < c C Z")])
            .error("< Z", Ends::Ended),
        open,
        State::after_error("stream failed", Op::Stream, "> Q < W E", Ends::Failed),
        closed("stream's CopyDone sent", "> Q < W d > c", "< c C Z")
            .legal(&[("d", "< c C Z"), ("c", "< C Z"), ("C", "< Z")])
            .error("< Z", Ends::Ended),
        closed("stream's CopyDone answered", "> Q < W > c < d c", "< C Z")
            .legal(&[("d", "< C Z"), ("C", "< Z")])
            .error("< Z", Ends::Ended),
        closed("stream's command ended", "> Q < W > c < c C", "< Z")
            .legal(&[("C", "< Z"), ("Z", "")])
            .error("< Z", Ends::Ended),
        State::after_error("stream failed at its end", Op::StreamClosed, "> Q < W > c < E", {
            Ends::Ended
        }),
    ]
}

/// Pipelines. Their ends are a Sync of their own.
pub(crate) fn pipeline() -> Vec<State> {
    let completed = |name, lead, rest| {
        State::new(name, Op::Completed, lead, rest).error("> S < Z", Ends::Failed)
    };
    let synced = "> P B E S < 1 2 C";
    vec![
        State {
            ends: Ends::Failed,
            ..State::new("nothing queued", Op::Waiting, "", "< E > S < Z")
        }
        .error("> S < Z", Ends::Failed),
        completed("pipeline's Parse sent", "> P B E H", "< 1 2 C > S < Z")
            .legal(&[("1", "< 2 C > S < Z")]),
        completed("pipeline's Bind sent", "> P B E H < 1", "< 2 C > S < Z")
            .legal(&[("2", "< C > S < Z")]),
        completed("pipeline's Execute sent", "> P B E H < 1 2 D", "< C > S < Z").legal(&[
            ("D", "< C > S < Z"),
            ("C", "> S < Z"),
            ("I", "> S < Z"),
        ]),
        State::new("pipeline's Sync sent", Op::Synced, synced, "< Z > S < Z")
            .legal(&[("Z", "> S < Z")])
            .error("< Z > S < Z", Ends::Failed),
        State::new("pipeline's Sync sent after an error", Op::Resumed, "> P B E H < E > S", {
            "< Z > S < Z"
        })
        .legal(&[("Z", "> S < Z")])
        .error("< Z > S < Z", Ends::Failed),
        State::new("pipeline's last Sync sent", Op::PipelineClosed, "> P B E S S < 1 2 C Z", "< Z")
            .legal(&[("Z", "")])
            .error("< Z", Ends::Ended),
    ]
}
