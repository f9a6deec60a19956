//! A program that answers and ends: what it says, within bounds of time and room.

use std::{
    io::{self, PipeReader},
    path::PathBuf,
    process::Stdio,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    runtime,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    child::{Child, Exit, Launch},
    programs::Privilege,
};
use crate::component::Error;

/// How long an answer may take: tshark alone takes a second to start, and more on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long to wait for the end of a dead program's output: what it started may hold the pipe.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(1);

/// So much of an answer is kept.
const ANSWER_BYTES: usize = 64 << 10;

/// What is asked of whom.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Question {
    /// The program, by [`programs::find`](super::programs::find).
    pub(in crate::sources::tshark) program: PathBuf,
    /// The question. What it reads is an empty file.
    pub(in crate::sources::tshark) arguments: Vec<String>,
    /// What it may do.
    pub(in crate::sources::tshark) privilege: Privilege,
}

/// What it said.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Answer {
    /// How it ended.
    pub(in crate::sources::tshark) exit: Exit,
    /// The beginning of what it wrote to its standard output.
    pub(in crate::sources::tshark) text: String,
    /// What it complained of.
    pub(in crate::sources::tshark) words: String,
}

// === impl Question ===

impl Question {
    /// Asks, and waits for the answer until `stop` is cancelled. The program has ended then; not waited
    /// for, it may outlive us.
    ///
    /// # Errors
    /// If the program can't be started, or has not answered by then or in time.
    pub(in crate::sources::tshark) async fn ask(
        self,
        stop: &CancellationToken,
    ) -> Result<Answer, Error> {
        self.ask_within(DEADLINE, stop).await
    }

    /// Asks where nothing may be awaited, from a runtime or without one.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(in crate::sources::tshark) fn ask_and_block(self) -> Result<Answer, Error> {
        let no_runtime =
            |error: io::Error| Error::failure("no program can be asked").because(error);
        let ask = || {
            let mut runtime = runtime::Builder::new_current_thread();
            runtime
                .enable_all()
                .build()
                .map_err(no_runtime)?
                .block_on(self.ask(&CancellationToken::new()))
        };
        let asked = thread::scope(|scope| scope.spawn(ask).join());
        asked.unwrap_or_else(|_| Err(Error::failure("asking a program panicked: this is a bug")))
    }

    async fn ask_within(
        self,
        deadline: Duration,
        stop: &CancellationToken,
    ) -> Result<Answer, Error> {
        let name = self.program.display().to_string();
        let no_pipe =
            |error| Error::failure(format!("no pipe for {name} could be made")).because(error);
        let (nothing, end) = io::pipe().map_err(no_pipe)?;
        drop(end);
        let (output, stdout) = io::pipe().map_err(no_pipe)?;
        let launch = Launch {
            program: self.program,
            arguments: self.arguments,
            stdin: Stdio::from(nothing),
            stdout: stdout.into(),
            privilege: self.privilege,
            death_signal: "KILL",
        };
        let mut child = Child::start(launch, None).await?;
        let mut text = Vec::new();
        let answered = async {
            let reading = read(output, &mut text);
            tokio::pin!(reading);
            tokio::select! {
                _ = &mut reading => child.ended().await,
                ended = child.ended() => {
                    if timeout(OUTPUT_DEADLINE, reading).await.is_err() {
                        tracing::debug!(program = name, "somebody else holds its output");
                    }
                    ended
                }
            }
        };
        let answered = tokio::select! {
            ended = answered => Some(ended),
            () = sleep(deadline) => None,
            () = stop.cancelled() => None,
        };
        let Some(ended) = answered else {
            child.signal(Signal::KILL);
            child.ended().await;
            return Err(Error::failure(format!("{name} gave no answer within {deadline:?}")));
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Answer { exit: ended.exit, text, words: ended.words })
    }
}

/// Reads to the end, so that the program is never stopped by a full pipe, and keeps the beginning.
async fn read(output: PipeReader, text: &mut Vec<u8>) -> io::Result<()> {
    let mut output = pipe::Receiver::from_owned_fd(output.into())?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = output.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let room = ANSWER_BYTES.saturating_sub(text.len()).min(length);
        text.extend_from_slice(buffer.get(..room).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Question {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Question { program: "/bin/sh".into(), arguments, privilege: Privilege::None }
    }

    #[tokio::test]
    async fn an_answer_is_what_it_said_complained_of_and_how_it_ended() {
        let script = "read -r nothing || echo said; echo 'File: x' >&2; echo why >&2; exit 7";
        let answer = shell(script).ask(&CancellationToken::new()).await.unwrap();
        assert_eq!((answer.exit, answer.text.as_str()), (Exit::Code(7), "said\n"));
        assert_eq!(answer.words, "why");
    }

    #[tokio::test]
    async fn a_long_answer_is_read_to_its_end_and_kept_in_part() {
        let answer = shell("head -c 10000000 /dev/zero | tr '\\0' x; exit 3")
            .ask(&CancellationToken::new())
            .await
            .unwrap();
        assert_eq!((answer.exit, answer.text.len()), (Exit::Code(3), ANSWER_BYTES));
    }

    /// Whether a process is there and no zombie, which only its parent can make go.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    #[tokio::test]
    async fn who_does_not_answer_is_killed_with_all_that_it_started() {
        for is_stopped in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let pids = folder.path().join("pids");
            let script = format!("sleep 600 & echo \"$! $$\" > {}; wait", pids.display());
            let deadline = if is_stopped { DEADLINE } else { Duration::from_secs(3) };
            let stop = CancellationToken::new();
            let read = || std::fs::read_to_string(&pids).unwrap_or_default();
            let stopping = async {
                while is_stopped && !read().ends_with('\n') {
                    sleep(Duration::from_millis(20)).await;
                }
                if is_stopped {
                    stop.cancel();
                }
            };
            let (answer, ()) = tokio::join!(shell(&script).ask_within(deadline, &stop), stopping);
            assert!(answer.unwrap_err().to_string().starts_with("/bin/sh gave no answer"));
            let pids = read();
            let (started, itself) = pids.trim_end().split_once(' ').unwrap();
            assert!(!lives(itself), "it is gone before we say so");
            while lives(started) {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    #[tokio::test]
    async fn one_that_leaves_its_output_to_another_has_answered() {
        let script = "echo said; setsid sleep 60 2>/dev/null & echo $!";
        let answer = shell(script).ask(&CancellationToken::new()).await.unwrap();
        let (said, pid) = answer.text.trim_end().split_once('\n').unwrap();
        assert_eq!((answer.exit, said), (Exit::Code(0), "said"));
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_question_may_block_within_a_runtime() {
        assert_eq!(shell("echo said").ask_and_block().unwrap().text, "said\n");
    }
}
