//! Vassals that wait for a client.

use mini_emperor::emperor::state::End;
use mini_emperor::emperor::{Action, Event, Word};

use crate::SECOND;
use crate::reign::{Reign, name, replay};

#[test]
fn a_vassal_on_demand_waits_for_its_client() {
    replay::told(|| {
        let mut reign = Reign::new();
        reign.define("web", "on_demand: true");
        assert_eq!(
            (reign.word("web"), &reign.done[..]),
            ("idle", &[Action::Await(name("web"))][..])
        );
        reign.happen(Event::TryNow);
        reign.happen(Event::Reload);
        reign.elapse(SECOND * 3600);
        assert_eq!(reign.word("web"), "idle");
        reign.happen(Event::Demand(name("web")));
        reign.bear_all();
        assert_eq!(reign.word("web"), "running");
        reign.says("web", Word::Unused);
        reign.hear();
        assert_eq!(reign.word("web"), "idle");
        // A client that comes while it goes has it started again.
        reign.happen(Event::Demand(name("web")));
        reign.bear_all();
        reign.says("web", Word::Rest);
        reign.happen(Event::Demand(name("web")));
        assert_eq!(reign.word("web"), "stopping");
        reign.hear();
        assert_eq!(reign.word("web"), "idle", "which finds its client still there");
    });
}

#[test]
fn one_on_demand_that_dies_pauses_before_it_waits_again() {
    replay::told(|| {
        let mut reign = Reign::new();
        reign.define("web", "on_demand: true\nrestart: {delay: 1s}");
        reign.happen(Event::Demand(name("web")));
        reign.bear_all();
        reign.dies("web", End::Exited(1));
        assert_eq!(reign.word("web"), "waiting");
        reign.happen(Event::Demand(name("web")));
        assert_eq!(reign.word("web"), "waiting");
        reign.elapse(SECOND * 2);
        assert_eq!(reign.word("web"), "idle");
        assert_eq!(reign.done.last(), Some(&Action::Await(name("web"))));
    });
}

#[test]
fn one_that_stays_down_is_waited_for_when_the_operator_wants_it_tried() {
    replay::told(|| {
        let mut reign = Reign::new();
        reign.define("web", "on_demand: true\nrestart: {policy: never}");
        reign.happen(Event::Demand(name("web")));
        reign.bear_all();
        reign.dies("web", End::Exited(1));
        assert_eq!(reign.word("web"), "failed");
        reign.happen(Event::Demand(name("web")));
        assert_eq!(reign.word("web"), "failed", "nobody is waited for");
        reign.happen(Event::TryNow);
        assert_eq!(reign.word("web"), "idle");
    });
}
