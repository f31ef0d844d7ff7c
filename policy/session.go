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
	// Coverage names what the recording does not capture or understand, for
	// example "sftp: recorded as a byte stream, files are not parsed".
	Coverage []string `json:"coverage,omitempty"`
	// RedactStreams asks for masks on a session without a terminal too.
	RedactStreams bool `json:"redact_streams,omitempty"`
}

// End says how a session ended.
type End struct {
	ExitStatus *uint32 `json:"exit_status,omitempty"` // RFC 4254, 6.10
	ExitSignal string  `json:"exit_signal,omitempty"` // without "SIG"
	Reason     string  `json:"reason,omitempty"`      // why it ended, when not by exit
}

// RecordingState says how whole a recording is.
type RecordingState string

// The states of a recording.
const (
	RecordingOpen        RecordingState = "open"
	RecordingComplete    RecordingState = "complete"
	RecordingInterrupted RecordingState = "interrupted" // no final manifest was written
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
	Size        int64          `json:"size"`             // bytes of the stored file
	SHA256      string         `json:"sha256,omitempty"` // hex digest of the stored file
}

// Recording is a session and, once it has ended, its summary.
type Recording struct {
	Session Session `json:"session"`
	Summary Summary `json:"summary"` // only ID and State are set while it is open
}
