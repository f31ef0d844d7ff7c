package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Place is somewhere outside that remembers checkpoints, so that a ledger that
// was rolled back, or made anew, does not go unnoticed.
type Place interface {
	// Name says where it is, without credentials.
	Name() string
	// Send hands it a checkpoint, and returns once it has that.
	Send(ctx context.Context, checkpoint []byte) error
	// Last returns the newest checkpoint that it remembers; nothing where it
	// remembers none or cannot say.
	Last(ctx context.Context) ([]byte, error)
}

// FilePlace is a file, best on another machine's disk. It never goes back to a
// smaller tree.
func FilePlace(path string, v note.Verifier) Place { return &filePlace{path, v} }

type filePlace struct {
	path     string
	verifier note.Verifier
}

func (p *filePlace) Name() string { return p.path }

func (p *filePlace) Send(ctx context.Context, checkpoint []byte) error {
	next, err := OpenCheckpoint(checkpoint, p.verifier)
	if err != nil {
		return err
	}
	last, err := p.Last(ctx)
	if err != nil {
		return err
	}
	if last != nil {
		t, err := OpenCheckpoint(last, p.verifier)
		if err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		if t.N > next.N || t.N == next.N && t.Hash != next.Hash {
			return fmt.Errorf("%s remembers another tree of %d entries: %w", p.path, t.N, ErrRolledBack)
		}
	}
	if err := os.MkdirAll(filepath.Dir(p.path), 0o700); err != nil {
		return err
	}
	return writeDurably(p.path, checkpoint, Options{Write: (*os.File).Write, Sync: (*os.File).Sync, Rename: os.Rename})
}

func (p *filePlace) Last(context.Context) ([]byte, error) {
	f, err := os.Open(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCheckpoint+1))
	if len(text) == 0 {
		return nil, err
	}
	return text, err
}

const placeTimeout = 10 * time.Second

// HTTPPlace is an address that takes checkpoints by POST as text/plain. A
// redirect is a failure.
func HTTPPlace(address string) (Place, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("want an address that begins with https:// or http://")
	}
	return &httpPlace{url: u, client: &http.Client{Timeout: placeTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}, nil
}

type httpPlace struct {
	url    *url.URL
	client *http.Client
}

func (p *httpPlace) Name() string { return p.url.Redacted() }

func (p *httpPlace) Send(ctx context.Context, checkpoint []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.String(), bytes.NewReader(checkpoint))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := p.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the address may hold a password
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %d", resp.StatusCode)
	}
	return nil
}

func (p *httpPlace) Last(context.Context) ([]byte, error) { return nil, nil }

// SyslogPlace is a syslog server (RFC 5424; over TCP with the octet counting of
// RFC 6587): unix:///dev/log, udp://HOST:PORT or tcp://HOST:PORT.
func SyslogPlace(address string) (Place, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return &syslogPlace{name: address, network: "unixgram", address: u.Path}, nil
	case (u.Scheme == "udp" || u.Scheme == "tcp") && u.Port() != "" && u.Path == "":
		return &syslogPlace{name: address, network: u.Scheme, address: u.Host}, nil
	}
	return nil, errors.New("want unix:///PATH, udp://HOST:PORT or tcp://HOST:PORT")
}

type syslogPlace struct{ name, network, address string }

func (p *syslogPlace) Name() string { return p.name }

func (p *syslogPlace) Send(ctx context.Context, checkpoint []byte) error {
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, p.network, p.address)
	if err != nil && p.network == "unixgram" {
		conn, err = d.DialContext(ctx, "unix", p.address)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(at); err != nil {
			return err
		}
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	// Facility 13 (log audit), severity 5 (notice). The note's lines are
	// joined by a character that it cannot hold.
	msg := fmt.Sprintf("<%d>1 %s %s sallyport - checkpoint - %s", 13*8+5, time.Now().UTC().Format(time.RFC3339), host,
		strings.ReplaceAll(strings.TrimSuffix(string(checkpoint), "\n"), "\n", "|"))
	if p.network == "tcp" {
		msg = fmt.Sprintf("%d %s", len(msg), msg)
	}
	_, err = io.WriteString(conn, msg)
	return err
}

func (p *syslogPlace) Last(context.Context) ([]byte, error) { return nil, nil }

// Publisher sends every new checkpoint to all places.
type Publisher struct {
	Ledger *Ledger
	Places []Place
	// Report is told of each try, with what went wrong or nil; nil reports
	// nothing. It is called concurrently.
	Report func(p Place, err error)
	// Retry is the first pause after a failure, which doubles up to a minute;
	// zero is a second.
	Retry time.Duration
}

// Run sends until ctx ends, and then once more what is newest.
func (p *Publisher) Run(ctx context.Context) {
	done := make(chan struct{})
	for _, place := range p.Places {
		go func() {
			p.serve(ctx, place)
			done <- struct{}{}
		}()
	}
	for range p.Places {
		<-done
	}
}

func (p *Publisher) serve(ctx context.Context, place Place) {
	var sent string
	first := p.Retry
	if first <= 0 {
		first = time.Second
	}
	pause := first
	for {
		latest, news := p.Ledger.Latest()
		var retry <-chan time.Time
		if string(latest) != sent {
			err := place.Send(ctx, latest)
			if ctx.Err() == nil && p.Report != nil {
				p.Report(place, err)
			}
			if err == nil {
				sent, pause = string(latest), first
				continue
			}
			retry, pause = time.After(pause), min(2*pause, time.Minute)
			news = nil
		}
		select {
		case <-ctx.Done():
			p.last(place, sent)
			return
		case <-news:
		case <-retry:
		}
	}
}

// last sends what a stopping node has signed at its end.
func (p *Publisher) last(place Place, sent string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if latest, _ := p.Ledger.Latest(); string(latest) != sent {
		if err := place.Send(ctx, latest); p.Report != nil {
			p.Report(place, err)
		}
	}
}
