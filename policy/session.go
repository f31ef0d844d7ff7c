package policy

import "time"

// Stream is one direction of a session's bytes, named as in the recording.
type Stream byte

// The streams of a session (DESIGN section 5).
const (
	StreamOutput Stream = 'o' // target to client, standard output or the terminal
	StreamStderr Stream = 'e' // target to client, extended data type 1 (RFC 4254, 5.2)
	StreamInput  Stream = 'i' // client to target
)

// Session describes one SSH session channel, from what is known when its
// recording opens. It is stored in the recording's header.
type Session struct {
	ID         SessionID         `json:"id"`
	Connection ConnectionID      `json:"connection"`
	User       User              `json:"user"`
	Source     string            `json:"source"`        // client address, HOST:PORT
	Client     string            `json:"client"`        // SSH version string of the client
	Key        Fingerprint       `json:"key,omitempty"` // key that signed the connection
	Serial     Serial            `json:"serial,omitempty"`
	Target     string            `json:"target"`
	Login      Login             `json:"login"`
	Action     Action            `json:"action"`
	Command    string            `json:"command,omitempty"` // exec command line or subsystem name
	TTY        bool              `json:"tty"`
	Term       string            `json:"term,omitempty"`
	Cols       int               `json:"cols,omitempty"`
	Rows       int               `json:"rows,omitempty"`
	Env        map[string]string `json:"env,omitempty"` // what the allow-list let through
	Start      time.Time         `json:"start"`
	// Labels are the target's when the session began: they still judge who
	// may replay once the target is no longer configured.
	Labels map[string]string `json:"labels,omitempty"`
	// Address is the target's as registered. The recording opens before the
	// target is dialled, so where that led, and the key that the target
	// proved, are part of its end.
	Address string `json:"address,omitempty"`
	// AskedEnv are the names of the environment variables that the client
	// asked for, the first 64 of them, made printable; Env holds those that
	// were let through, and the coverage list counts all.
	AskedEnv []string `json:"asked_env,omitempty"`
	// PolicyDigest and ConfigDigest are SHA-256, in hex, of the policy and of
	// the configuration in force.
	PolicyDigest string `json:"policy_digest,omitempty"`
	ConfigDigest string `json:"config_digest,omitempty"`
	// Policies are the ids of the policies that allowed the session.
	Policies []string `json:"policies,omitempty"`
	// Retention is how long the recording is kept after its end, in
	// nanoseconds; zero keeps it for as long as nobody deletes it.
	Retention time.Duration `json:"retention,omitempty"`
	// Coverage names what the recording does not capture or understand, for
	// example "sftp: recorded as a byte stream, files are not parsed".
	Coverage []string `json:"coverage,omitempty"`
	// RedactStreams asks for masks on what the client gets of a session
	// without a terminal, too. What replays show is masked in any case.
	RedactStreams bool `json:"redact_streams,omitempty"`
}

// Channel says what became of one kind of channel or request on a session's
// connection, as the wire showed it.
type Channel struct {
	Kind     string `json:"kind"`     // one of the Kind constants
	Type     string `json:"type"`     // the name on the wire, such as "direct-tcpip" (RFC 4250, 4.9), escaped by ShowType
	From     string `json:"from"`     // who opened or sent it, one of the From constants
	Count    int    `json:"count"`    // how many there were
	Captured bool   `json:"captured"` // false: refused, or let through unrecorded; Note says which and why
	Note     string `json:"note,omitempty"`
}

// HostContext is what a probe found out about the target, over the connection
// of the session. What is not known is empty. All of it is the target's word.
type HostContext struct {
	Hostname    string `json:"hostname,omitempty"`
	Kernel      string `json:"kernel,omitempty"` // uname -sr
	OS          string `json:"os,omitempty"`     // PRETTY_NAME of os-release
	Shell       string `json:"shell,omitempty"`
	ShellVer    string `json:"shell_version,omitempty"`
	Dir         string `json:"dir,omitempty"` // working directory
	Container   string `json:"container,omitempty"`
	ImageDigest string `json:"image_digest,omitempty"`
	Error       string `json:"error,omitempty"` // why the probe found out nothing, or not all
}

// End says how a session ended.
type End struct {
	ExitStatus *uint32 `json:"exit_status,omitempty"` // RFC 4254, 6.10
	ExitSignal string  `json:"exit_signal,omitempty"` // without "SIG"
	Reason     string  `json:"reason,omitempty"`      // why it ended, when not by exit
	// Address and HostKey are those of the target that was reached: ADDRESS:PORT
	// as dialled, and the fingerprint of the key that it proved (without its
	// certificate). Empty when none was reached.
	Address string      `json:"address,omitempty"`
	HostKey Fingerprint `json:"host_key,omitempty"`
	// Channels is the coverage list: what the connection carried up to the
	// session's end, and what of it no recording holds.
	Channels []Channel `json:"channels,omitempty"`
	// Host is what the probe found out, where policy asked for one.
	Host *HostContext `json:"host,omitempty"`
}

// RecordingState says how whole a recording is.
type RecordingState string

// The states of a recording.
const (
	RecordingOpen        RecordingState = "open"
	RecordingComplete    RecordingState = "complete"
	RecordingInterrupted RecordingState = "interrupted" // the end was not seen; what came before is sealed
	RecordingExpired     RecordingState = "expired"     // its keys were destroyed
)

// Summary is what is known of a recording once it has ended.
type Summary struct {
	ID          SessionID      `json:"id"`
	State       RecordingState `json:"state"`
	End         End            `json:"end"`
	Ended       time.Time      `json:"ended"`
	Duration    time.Duration  `json:"duration"` // nanoseconds, from the monotonic clock
	OutputBytes int64          `json:"output_bytes"`
	StderrBytes int64          `json:"stderr_bytes"`
	InputBytes  int64          `json:"input_bytes"`
	Events      int64          `json:"events"`
	Masks       int64          `json:"masks"`
	Segments    int            `json:"segments"`
	Size        int64          `json:"size"`             // bytes of all segments, as stored
	SHA256      string         `json:"sha256,omitempty"` // hex digest of the manifest
}

// Recording is a session and, once it has ended, its summary.
type Recording struct {
	Session Session `json:"session"`
	Summary Summary `json:"summary"` // only ID and State are set while it is open
}
