//! One device: its connection, its timers, and its reconnection after a failure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use relais_protocol::websocket::Opcode;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::failure::Failure;
use super::firmware::{Firmware, Heard};
use super::fleet::{Inner, Module, now};
use super::socket::{Frame, Socket};

/// From the first attempt to connect to the welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a flapping device stays online.
const FLAP_AFTER_S: std::ops::Range<u64> = 20..60;
/// How long a device that goes silent intermittently sends.
const TALK_S: std::ops::Range<u64> = 30..90;
/// How long it stays silent: longer than servers wait.
const SILENCE_S: std::ops::Range<u64> = 100..200;

/// One device.
pub(super) struct Device {
    fleet: Arc<Inner>,
    place: usize,
    address: SocketAddr,
    began: Instant,
    firmware: Firmware,
    habit: Habit,
    backoff: Backoff,
    was_online: bool,
    chance: fastrand::Rng,
}

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    Steady,
    /// Its connection breaks.
    Flaps,
    /// It sends nothing for a long time, while its connection stays open.
    FallsSilent,
}

/// What it does next, and when.
struct Timers {
    report: Instant,
    heartbeat: Instant,
    /// When its habit is due next.
    lapse: Option<Instant>,
}

/// What a server's frames request.
#[derive(Default)]
struct Received {
    answers: Vec<String>,
    pongs: Vec<Vec<u8>>,
    welcome: bool,
    failure: Option<Failure>,
}

impl Device {
    pub(super) fn new(
        fleet: Arc<Inner>,
        place: usize,
        module: Module,
        address: SocketAddr,
        began: Instant,
    ) -> Self {
        let mut chance = fastrand::Rng::with_seed(fleet.config.seed.wrapping_add(place as u64));
        let draw = chance.u8(0..100);
        let (flaps, silent) = (fleet.config.flap_percent, fleet.config.silent_percent);
        let habit = match draw {
            draw if draw < flaps => Habit::Flaps,
            draw if draw < flaps.saturating_add(silent) => Habit::FallsSilent,
            _ => Habit::Steady,
        };
        let firmware = Firmware::new(module, Duration::ZERO, &mut chance);
        let backoff = Backoff::default();
        Self { fleet, place, address, began, firmware, habit, backoff, was_online: false, chance }
    }

    /// Connects and reconnects until `stop`.
    pub(super) async fn live(mut self, stop: CancellationToken) {
        let mut pause = self.within(self.fleet.config.interval);
        while stop.run_until_cancelled(sleep(pause)).await.is_some() {
            if let Err(failure) = self.connection(&stop).await {
                self.fleet.counts.failed(self.firmware.id(), &failure);
            }
            pause = self.backoff.next(&mut self.chance);
        }
    }

    /// One connection, until it ends or `stop`.
    async fn connection(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        // Boxed, so that its memory is freed once the connection is up.
        let welcomed = Box::pin(timeout(WELCOME_TIMEOUT, self.enter()));
        let Some(welcomed) = stop.run_until_cancelled(welcomed).await else { return Ok(()) };
        let mut socket = welcomed.map_err(|_| Failure::Unwelcome(WELCOME_TIMEOUT.as_secs()))??;
        if std::mem::replace(&mut self.was_online, true) {
            self.fleet.counts.reconnects.fetch_add(1, Relaxed);
        }
        self.backoff.reset();
        let fleet = Arc::clone(&self.fleet);
        let _online = fleet.counts.enter();
        let mut timers = self.timers();
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    socket.close(self.mask());
                    return Ok(());
                }
                readable = socket.readable() => {
                    readable?;
                    self.receive(&mut socket).await?;
                }
                () = sleep_until(timers.next()) => {
                    if self.act(&mut socket, &mut timers, stop).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Connects and identifies itself, until it is welcomed.
    async fn enter(&mut self) -> Result<Socket, Failure> {
        let fleet = Arc::clone(&self.fleet);
        let mut socket = Socket::open(self.address, &fleet.config.endpoint, &mut self.chance).await?;
        let words = self.firmware.identify(self.now());
        self.say(&mut socket, &words).await?;
        loop {
            socket.readable().await?;
            if self.receive(&mut socket).await? {
                return Ok(socket);
            }
        }
    }

    /// Reads what the server sent and answers it; returns whether the device was welcomed.
    async fn receive(&mut self, socket: &mut Socket) -> Result<bool, Failure> {
        let (mut received, now) = (Received::default(), self.now());
        let read = socket.read(|frame| self.take(frame, now, &mut received));
        let Received { answers, pongs, welcome, failure } = received;
        // The server's reason for closing is more specific than the close itself.
        failure.map_or(read, Err)?;
        for payload in pongs {
            socket.send(Opcode::Pong, &payload, self.mask()).await?;
        }
        for answer in answers {
            self.say(socket, &answer).await?;
            self.fleet.counts.commands.fetch_add(1, Relaxed);
        }
        Ok(welcome)
    }

    fn take(&mut self, frame: Frame<'_>, now: Duration, received: &mut Received) {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Ping(payload) => return received.pongs.push(payload.to_vec()),
            Frame::Close { code, reason } => {
                received.failure.get_or_insert(Failure::Closed { code, reason });
                return;
            }
            Frame::Other => return,
        };
        match self.firmware.hear(text, now) {
            Heard::Nothing => {}
            Heard::Welcome => received.welcome = true,
            Heard::Refused(why) => received.failure = Some(Failure::Refused(why)),
            Heard::ReportRefused(why) => self.fleet.counts.report_refused(self.firmware.id(), &why),
            Heard::Answer(answer) => received.answers.push(answer),
        }
    }

    /// Does what is due; returns whether it disconnects.
    async fn act(
        &mut self,
        socket: &mut Socket,
        timers: &mut Timers,
        stop: &CancellationToken,
    ) -> Result<bool, Failure> {
        let now = now();
        if timers.lapse.is_some_and(|at| at <= now) {
            if self.habit == Habit::Flaps {
                return Err(Failure::Left);
            }
            let silence = self.seconds(SILENCE_S);
            let spoken = stop.run_until_cancelled(sleep(silence)).await.is_some();
            *timers = self.timers();
            return Ok(!spoken);
        }
        if timers.report <= now {
            timers.report = after(timers.report, self.fleet.config.interval, now);
            let stamp = self.fleet.stamp();
            let words = self.firmware.telemetry(self.now(), stamp, &mut self.chance);
            self.say(socket, &words).await?;
            self.fleet.reported(self.place, stamp);
        }
        if timers.heartbeat <= now {
            timers.heartbeat = after(timers.heartbeat, self.fleet.config.heartbeat, now);
            let words = self.firmware.heartbeat(self.now(), &mut self.chance);
            self.say(socket, &words).await?;
            self.fleet.counts.heartbeats.fetch_add(1, Relaxed);
        }
        Ok(false)
    }

    async fn say(&mut self, socket: &mut Socket, words: &str) -> Result<(), Failure> {
        socket.send(Opcode::Text, words.as_bytes(), self.mask()).await
    }

    fn timers(&mut self) -> Timers {
        let (interval, heartbeat) = (self.fleet.config.interval, self.fleet.config.heartbeat);
        let now = now();
        let lapse = match self.habit {
            Habit::Steady => None,
            Habit::Flaps => Some(now + self.seconds(FLAP_AFTER_S)),
            Habit::FallsSilent => Some(now + self.seconds(TALK_S)),
        };
        Timers { report: now + self.within(interval), heartbeat: now + self.within(heartbeat), lapse }
    }

    /// Time since the fleet started.
    fn now(&self) -> Duration {
        now() - self.began
    }

    fn within(&mut self, all: Duration) -> Duration {
        all.mul_f64(self.chance.f64())
    }

    fn seconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.chance.u64(range.start * 1000..range.end * 1000))
    }

    fn mask(&mut self) -> [u8; 4] {
        self.chance.u32(..).to_ne_bytes()
    }
}

impl Timers {
    fn next(&self) -> Instant {
        let soonest = self.report.min(self.heartbeat);
        self.lapse.map_or(soonest, |lapse| lapse.min(soonest))
    }
}

/// The next tick of an interval; missed ticks are skipped.
fn after(due: Instant, interval: Duration, now: Instant) -> Instant {
    (due + interval).max(now)
}

#[cfg(test)]
mod tests {
    use super::super::{Fleet, FleetConfig};
    use super::*;

    #[test]
    fn a_device_is_a_task_of_less_than_two_kilobytes() {
        let config = FleetConfig {
            endpoint: "ws://127.0.0.1:1".parse().unwrap(),
            interval: Duration::from_secs(10),
            heartbeat: Duration::from_secs(30),
            flap_percent: 0,
            silent_percent: 0,
            seed: 1,
            stamps_since: None,
        };
        let module = Module { id: "MC-0000-STN".into(), credential: "secret".into() };
        let fleet = Fleet::new(config, vec![module.clone()]).inner();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let device =
            runtime.block_on(async { Device::new(fleet, 0, module, "127.0.0.1:1".parse().unwrap(), now()) });
        let bytes = size_of_val(&device.live(CancellationToken::new()));
        assert!(bytes < 2048, "{bytes}");
    }
}
