//! Asks about paths that a definition names, and waits only for a moment.
//!
//! A path may lead into a file system that does not answer: a disk that is gone, an NFS server that is down. Who looks
//! there waits in the kernel, so others look for the emperor. What is not answered in time only keeps the checks from
//! warning: the vassal's own start shows what is there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::facts::Facts;
use crate::config::namespaces::IdRange;
use crate::config::world::{Identities, User, World};

/// How long a question is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Scouts at one time. While all of them wait, nobody is asked.
const MOST: usize = 4;

/// Bytes of stack of such a thread.
const STACK: usize = 64 * 1024;

type Question = Box<dyn FnOnce() -> bool + Send>;

/// A thread that looks, and where it is asked and answers.
struct Scout {
    asked: Sender<Question>,
    answers: Receiver<bool>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// It did not come in time.
    NoAnswer,
    /// There is nobody to ask.
    NobodyAsked,
}

/// Those who look for others.
#[derive(Default)]
pub(super) struct Scouts {
    idle: Mutex<Option<Scout>>,
    /// How many there are, those that nobody waits for any more included.
    hired: Arc<AtomicUsize>,
}

impl Scouts {
    /// The answer to `question`, if there is one within `patience`.
    fn ask(
        &self,
        question: impl FnOnce() -> bool + Send + 'static,
        patience: Duration,
    ) -> Result<bool, Silence> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let scout = idle.take().or_else(|| self.hire()).ok_or(Silence::NobodyAsked)?;
        // One that has died answers as little as one that waits.
        let asked = scout.asked.send(Box::new(question));
        asked.map_err(|_| Silence::NoAnswer)?;
        let answered = scout.answers.recv_timeout(patience);
        let answer = answered.map_err(|_| Silence::NoAnswer)?;
        *idle = Some(scout);
        Ok(answer)
    }

    fn hire(&self) -> Option<Scout> {
        if self.hired.load(Ordering::Relaxed) >= MOST {
            return None;
        }
        let (asked, questions) = channel::<Question>();
        let (tell, answers) = channel();
        let hired = self.hired.clone();
        hired.fetch_add(1, Ordering::Relaxed);
        let leave = Leave(hired);
        let looks = move || {
            let _leave = leave;
            // Until nobody waits for it any more.
            while let Ok(question) = questions.recv() {
                if tell.send(question()).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("scout".to_owned())
            .stack_size(STACK);
        thread.spawn(looks).ok()?;
        Some(Scout { asked, answers })
    }
}

/// A scout ends.
struct Leave(Arc<AtomicUsize>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The host as it is, for somebody who cannot wait for it.
pub(super) struct Cautious {
    facts: Facts,
    scouts: Scouts,
}

impl Cautious {
    /// Asks `facts`, about paths by scouts.
    pub(super) fn new(facts: Facts) -> Self {
        let scouts = Scouts::default();
        Self { facts, scouts }
    }

    fn ask(&self, at: &str, question: impl FnOnce(Facts) -> bool + Send + 'static) -> bool {
        let facts = self.facts;
        let answer = self.scouts.ask(move || question(facts), PATIENCE);
        answer.unwrap_or_else(|silence| {
            let why = match silence {
                Silence::NoAnswer => "its disk does not answer",
                Silence::NobodyAsked => {
                    "whoever could look waits for another disk, or there can be no more threads"
                }
            };
            tracing::warn!(at, "not checked whether this is there: {why}");
            true
        })
    }
}

impl World for Cautious {
    fn is_executable(&self, program: &str, path: &str) -> bool {
        let (asked, search) = (program.to_owned(), path.to_owned());
        self.ask(program, move |facts| facts.is_executable(&asked, &search))
    }

    fn is_directory(&self, path: &Path) -> bool {
        let asked: PathBuf = path.to_owned();
        self.ask(&path.display().to_string(), move |facts| {
            facts.is_directory(&asked)
        })
    }

    fn user(&self, name_or_number: &str) -> Option<User> {
        self.facts.user(name_or_number)
    }

    fn group(&self, name_or_number: &str) -> Option<u32> {
        self.facts.group(name_or_number)
    }

    fn identities(&self) -> Identities {
        self.facts.identities()
    }

    fn subordinates(&self, user: &str, uid: u32) -> (Option<IdRange>, Option<IdRange>) {
        self.facts.subordinates(user, uid)
    }

    fn user_of(&self, uid: u32) -> Option<User> {
        self.facts.user_of(uid)
    }

    fn is_member(&self, user: &User, gid: u32) -> bool {
        self.facts.is_member(user, gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn one_scout_answers_one_question_after_another() {
        let scouts = Scouts::default();
        for answer in [true, false, true] {
            assert_eq!(scouts.ask(move || answer, LONG), Ok(answer));
            assert_eq!(scouts.hired.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn while_as_many_as_there_may_be_wait_nobody_is_asked() {
        let scouts = Scouts::default();
        let (answer, answers) = channel::<()>();
        let answers = Arc::new(Mutex::new(answers));
        for hung in 1..=MOST {
            let answers = answers.clone();
            assert_eq!(
                scouts.ask(move || answers.lock().unwrap().recv().is_ok(), SHORT),
                Err(Silence::NoAnswer)
            );
            assert_eq!(scouts.hired.load(Ordering::Relaxed), hung);
            if hung < MOST {
                assert_eq!(scouts.ask(|| true, LONG), Ok(true), "others look meanwhile");
                // So that the next is hired in its place.
                drop(scouts.idle.lock().unwrap().take());
                while scouts.hired.load(Ordering::Relaxed) > hung {
                    std::thread::yield_now();
                }
            }
        }
        assert_eq!(scouts.ask(|| true, LONG), Err(Silence::NobodyAsked));
        drop(answer);
        while scouts.hired.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(scouts.ask(|| true, LONG), Ok(true));
    }
}
