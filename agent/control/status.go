package control

import "time"

// Status is what the agent does at this moment.
type Status struct {
	Version   string        `json:"version"`
	Machine   string        `json:"machine"`
	Pool      []string      `json:"pool"` // addresses of its matchmakers
	Connected bool          `json:"connected"`
	Refused   bool          `json:"refused,omitempty"`   // not connected since the pool does not know the machine, or not any more
	Wish      Wish          `json:"wish,omitzero"`       // that holds
	MayPause  time.Duration `json:"may_pause_ns"`        // granted to who sits here
	Idle      time.Duration `json:"idle_ns"`             // since the owner's last input; -1 while nobody is watched
	Unseen    []Unseen      `json:"unseen,omitempty"`    // what counts as the owner at work since nothing tells of its input
	SkuaLoad  float64       `json:"skua_load,omitempty"` // the jobs' part of the load, as SkuaLoadAvg
	CannotRun string        `json:"cannot_run,omitempty"`
	Policy    string        `json:"policy"`               // the file in force, or the preset
	BadPolicy string        `json:"bad_policy,omitempty"` // why a newer policy is not in force
	Central   *Central      `json:"central,omitempty"`    // the pool's policy that counts here, too
	Slots     []SlotStatus  `json:"slots"`

	// WishUnkept is set while the last wish could not be written: an agent that is started again will not know it.
	WishUnkept bool `json:"wish_unkept,omitempty"`

	// YouMayPause is for how long who asks may keep jobs away; 0 means not at all.
	YouMayPause time.Duration `json:"you_may_pause_ns,omitempty"`

	// Rules are the policy's expressions that hold, by name, and Facts what the first of Slots says of what they look at.
	// An agent whose policy is huge leaves them out.
	Rules map[string]string `json:"rules,omitempty"`
	Facts map[string]string `json:"facts,omitempty"`
}

// Unseen is a display or session of which nobody can tell whether somebody uses it.
type Unseen struct {
	Source string `json:"source"` // ":1" for an X display, else in words
	Why    string `json:"why"`
}

// Central names a policy that the pool's administrator has handed to a group of machines.
type Central struct {
	Group  string    `json:"group"`
	Number int64     `json:"number"`
	At     time.Time `json:"at"` // when it was signed
}

// SlotStatus is what one slot does.
type SlotStatus struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Activity string    `json:"activity"`
	Since    time.Time `json:"since"`
	Job      string    `json:"job,omitempty"`  // its id
	User     string    `json:"user,omitempty"` // whose job it is
	Still    bool      `json:"still"`          // the job is frozen
	Why      string    `json:"why,omitempty"`  // the job is frozen or leaves, or none may start
}

// Ran is one stay of a job on this machine.
type Ran struct {
	Job     string        `json:"job"`
	User    string        `json:"user"`
	Slot    string        `json:"slot"`
	Began   time.Time     `json:"began,omitzero"`
	Ended   time.Time     `json:"ended"`
	Outcome string        `json:"outcome"` // exited, evicted or hold
	Why     string        `json:"why,omitempty"`
	CPU     time.Duration `json:"cpu_ns"`
	Memory  int64         `json:"memory"` // at its most, in bytes
}
