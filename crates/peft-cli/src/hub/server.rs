//! A hub with the one model `org/tiny`, on loopback: for the tests of this module and for those that drive the
//! whole program.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The server. It stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

/// What it serves and how.
pub(crate) struct State {
    pub(crate) files: HashMap<String, Vec<u8>>,
    pub(crate) commit: String,
    requests: Vec<String>,
    /// Answer everything with this.
    pub(crate) refuse: Option<u16>,
    /// Close the connection halfway through this file, once.
    pub(crate) cut: Option<String>,
    /// Announce the length of what is sent.
    pub(crate) announce: bool,
    /// Send whole files whatever part is asked for.
    pub(crate) whole: bool,
    stop: bool,
}

impl Server {
    pub(crate) fn new<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            files: files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect(),
            commit: "c0ffee".to_owned(),
            requests: Vec::new(),
            refuse: None,
            cut: None,
            announce: true,
            whole: false,
            stop: false,
        }));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut state = shared.lock().unwrap();
                if state.stop {
                    return;
                }
                let _ = answer(stream.unwrap(), &mut state);
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    /// What HF_ENDPOINT is set to.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// The requests since the last call, each with its header.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.set(|state| state.stop = true);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn answer(mut stream: TcpStream, state: &mut State) -> std::io::Result<()> {
    let head: Vec<String> =
        BufReader::new(stream.try_clone()?).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    state.requests.push(head.join("\n"));
    let header = |name: &str| {
        let mut pairs = head.iter().filter_map(|line| line.split_once(": "));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let name = path.strip_prefix("/org/tiny/resolve/").and_then(|rest| rest.split_once('/'));
    let file = name.and_then(|(_, name)| Some((name, state.files.get(name)?)));
    let (status, body) = match (state.refuse, &file) {
        (Some(status), _) => (status, None),
        (None, None) => (404, None),
        (None, Some((_, content))) => (206, Some(content)),
    };
    let Some(content) = body else {
        return write!(stream, "HTTP/1.1 {status} No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    };
    let range = header("range").unwrap_or_default();
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let (from, size) = (from.parse::<usize>().unwrap(), content.len());
    if from >= size {
        return write!(stream, "HTTP/1.1 416 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    }
    let from = if state.whole && to.is_empty() { 0 } else { from };
    let part = &content[from..to.parse::<usize>().map_or(size, |to| to + 1)];
    let name = file.map_or("", |(name, _)| name);
    let cut = to.is_empty() && state.cut.as_deref() == Some(name);
    let length = if state.announce { part.len().to_string() } else { String::new() };
    write!(
        stream,
        "HTTP/1.1 206 Part\r\nx-repo-commit: {}\r\netag: \"tag-{name}\"\r\nconnection: close\r\n\
         content-range: bytes {from}-{}/{size}\r\n",
        state.commit,
        from + part.len() - 1
    )?;
    if state.announce {
        write!(stream, "content-length: {length}\r\n")?;
    }
    write!(stream, "\r\n")?;
    let sent = if cut { &part[..part.len() / 2] } else { part };
    if cut {
        state.cut = None;
    }
    stream.write_all(sent)
}
