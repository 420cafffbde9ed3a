//! A seeded load on the model: overlapping calls, slow answers, lost answers, workers that come back too late, crashes.

use super::model::{Bug, Cancelled, Model};
use longhaul_testkit::history::{Answer, Call, LeaseSeen, Record};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

pub(crate) struct Outcome {
    pub(crate) history: Vec<Record>,
    /// How often the bug made a difference.
    pub(crate) acted: u64,
    /// How often it made one that a client could see by then.
    pub(crate) visible: u64,
}

const TENANTS: [&str; 2] = ["ada", "bob"];
const STEPS: usize = 400;

struct Load {
    rng: StdRng,
    model: Model,
    history: Vec<Record>,
    /// Answers on their way: the effect has happened, the client does not know yet.
    in_flight: Vec<Record>,
    next_op: u64,
    markers: u64,
    /// Job ids whose receipt arrived, with their tenant.
    receipts: Vec<(String, String)>,
    /// Leases that workers hold, or believe to hold.
    held: Vec<LeaseSeen>,
    /// Keyed submissions, to be repeated.
    keyed: Vec<(String, String, String, Value)>,
}

pub(crate) fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let mut load = Load {
        rng: StdRng::seed_from_u64(seed),
        model: Model::new(bug),
        history: Vec::new(),
        in_flight: Vec::new(),
        next_op: 0,
        markers: 0,
        receipts: Vec::new(),
        held: Vec::new(),
        keyed: Vec::new(),
    };
    for _ in 0..STEPS {
        load.step();
    }
    load.crash();
    load.look_at_all();
    load.drain();
    load.look_at_all();
    Outcome { history: load.history, acted: load.model.acted, visible: load.model.visible }
}

impl Load {
    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..=19 => self.submit(),
            20..=23 => self.repeat_a_key(),
            24..=25 => self.refused(),
            26..=44 => self.claim(),
            45..=59 => self.finish(),
            60..=63 => self.cancel(),
            64..=67 => self.expire(),
            68..=79 => self.look(),
            80..=81 => self.census(),
            82..=95 => self.deliver(),
            96..=97 => self.model.sync(),
            _ => {
                self.crash();
                if self.rng.random_bool(0.5) {
                    self.look_at_all();
                }
            }
        }
    }

    fn invoke(&mut self, call: Call) -> u64 {
        self.next_op += 1;
        self.history.push(Record::Invoke { op: self.next_op, call });
        self.next_op
    }

    /// Answers now or later.
    fn answer(&mut self, op: u64, answer: Answer) {
        self.in_flight.push(Record::Ok { op, answer });
        if self.rng.random_bool(0.6) {
            self.deliver_at(self.in_flight.len() - 1);
        }
    }

    fn deliver(&mut self) {
        if !self.in_flight.is_empty() {
            let index = self.rng.random_range(0..self.in_flight.len());
            self.deliver_at(index);
        }
    }

    fn deliver_at(&mut self, index: usize) {
        let record = self.in_flight.swap_remove(index);
        if let Record::Ok { op, answer } = &record {
            match answer {
                Answer::Submitted { job_id } => self.receipts.push((self.tenant_of(*op), job_id.clone())),
                Answer::Claimed { leases } => self.held.extend(leases.iter().cloned()),
                _ => {}
            }
        }
        self.history.push(record);
    }

    fn tenant_of(&self, op: u64) -> String {
        let call = self.history.iter().find_map(|record| match record {
            Record::Invoke { op: this, call: Call::Submit { tenant, .. } } if *this == op => Some(tenant.clone()),
            _ => None,
        });
        call.expect("only submissions get receipts")
    }

    fn fresh(&mut self) -> (String, String, Value) {
        self.markers += 1;
        let tenant = TENANTS[self.rng.random_range(0..TENANTS.len())].to_owned();
        let marker = format!("{tenant}-{}", self.markers);
        let input = json!({"marker": marker, "n": self.markers});
        (tenant, marker, input)
    }

    fn submit(&mut self) {
        let (tenant, marker, input) = self.fresh();
        let key = self.rng.random_bool(0.3).then(|| format!("key-{marker}"));
        if let Some(key) = &key {
            self.keyed.push((tenant.clone(), key.clone(), marker.clone(), input.clone()));
        }
        self.send(tenant, key, marker, input);
    }

    fn repeat_a_key(&mut self) {
        if !self.keyed.is_empty() {
            let index = self.rng.random_range(0..self.keyed.len());
            let (tenant, key, marker, input) = self.keyed[index].clone();
            self.send(tenant, Some(key), marker, input);
        }
    }

    fn send(&mut self, tenant: String, key: Option<String>, marker: String, input: Value) {
        let call = Call::Submit {
            tenant: tenant.clone(),
            marker: marker.clone(),
            key: key.clone(),
            kind: "echo".into(),
            input: input.clone(),
        };
        let op = self.invoke(call);
        if self.rng.random_bool(0.05) {
            // The connection died before the request arrived, and the client cannot tell.
            self.history.push(Record::Info { op, reason: "reset".into() });
            return;
        }
        let job_id = self.model.submit(&tenant, key.as_deref(), &marker, &input);
        self.answer(op, Answer::Submitted { job_id });
    }

    fn refused(&mut self) {
        let (tenant, marker, input) = self.fresh();
        let call = Call::Submit {
            tenant: tenant.clone(),
            marker: marker.clone(),
            key: None,
            kind: "echo".into(),
            input: input.clone(),
        };
        let op = self.invoke(call);
        self.model.refuse(&tenant, &marker, &input);
        self.history.push(Record::Fail { op, reason: "507".into() });
    }

    fn claim(&mut self) {
        let op = self.invoke(Call::Claim { worker: "w".into() });
        let pick = self.rng.random_range(0..1_000);
        let leases = self.model.claim(pick).into_iter().collect();
        self.answer(op, Answer::Claimed { leases });
    }

    fn finish(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..self.held.len());
        // Now and then a worker sends its result and keeps the lease, to send it again when it is stale.
        let keep = self.rng.random_bool(0.3);
        let lease = if keep { self.held[index].clone() } else { self.held.swap_remove(index) };
        let output = self.model.input(&lease.job_id);
        let op = self.invoke(Call::Finish {
            job_id: lease.job_id.clone(),
            attempt: lease.attempt,
            lease_token: lease.lease_token.clone(),
            output: output.clone(),
        });
        if self.model.finish(&lease, &output) {
            self.answer(op, Answer::Finished);
        } else {
            self.history.push(Record::Fail { op, reason: "409 lease_lost".into() });
        }
    }

    fn cancel(&mut self) {
        let Some((tenant, job_id)) = self.any_receipt() else { return };
        let op = self.invoke(Call::Cancel { tenant, job_id: job_id.clone() });
        match self.model.cancel(&job_id) {
            Some(Cancelled::Cancelling) => self.answer(op, Answer::Cancelling),
            Some(Cancelled::AlreadyEnded(status)) => self.answer(op, Answer::AlreadyEnded { status }),
            None => self.history.push(Record::Fail { op, reason: "404".into() }),
        }
    }

    fn expire(&mut self) {
        let pick = self.rng.random_range(0..1_000);
        self.model.expire(pick);
    }

    fn look(&mut self) {
        let Some((tenant, job_id)) = self.any_receipt() else { return };
        let tenant = if self.rng.random_bool(0.2) { TENANTS[0].to_owned() } else { tenant };
        self.look_at(tenant, job_id);
    }

    fn look_at(&mut self, tenant: String, job_id: String) {
        let op = self.invoke(Call::Look { tenant: tenant.clone(), job_id: job_id.clone() });
        let saw = self.model.look(&tenant, &job_id);
        self.answer(op, Answer::Saw(saw));
    }

    fn census(&mut self) {
        let tenant = TENANTS[self.rng.random_range(0..TENANTS.len())].to_owned();
        let op = self.invoke(Call::Census { tenant: tenant.clone() });
        let jobs = self.model.census(&tenant);
        self.answer(op, Answer::Counted { jobs });
    }

    fn any_receipt(&mut self) -> Option<(String, String)> {
        if self.receipts.is_empty() {
            return None;
        }
        let index = self.rng.random_range(0..self.receipts.len());
        Some(self.receipts[index].clone())
    }

    /// Answers on their way are lost with the connections.
    fn crash(&mut self) {
        for record in std::mem::take(&mut self.in_flight) {
            if let Record::Ok { op, .. } = record {
                self.history.push(Record::Info { op, reason: "killed".into() });
            }
        }
        self.model.crash();
        self.history.push(Record::Restart);
    }

    fn drain(&mut self) {
        let patience = 20 * STEPS;
        for _ in 0..patience {
            if !self.model.has_work() {
                break;
            }
            match self.rng.random_range(0..20) {
                0..=5 => self.claim(),
                6..=18 => self.finish(),
                _ => self.expire(),
            }
            self.deliver();
            self.deliver();
        }
        assert!(!self.model.has_work(), "the load gave up before the model was done");
    }

    fn look_at_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.deliver();
        }
        for (tenant, job_id) in self.receipts.clone() {
            self.look_at(tenant, job_id);
        }
        for tenant in TENANTS {
            let op = self.invoke(Call::Census { tenant: tenant.to_owned() });
            let jobs = self.model.census(tenant);
            self.answer(op, Answer::Counted { jobs });
        }
        while !self.in_flight.is_empty() {
            self.deliver();
        }
    }
}
