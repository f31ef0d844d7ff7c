package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// newLogger makes the structured log that cfg asks for: in a file, which the
// caller closes, or on stderr.
func newLogger(cfg LogConfig, stderr io.Writer) (*slog.Logger, *logFile, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, nil, err
	}
	file := &logFile{path: cfg.File}
	out := stderr
	if cfg.File != "" {
		if err := file.reopen(); err != nil {
			return nil, nil, err
		}
		out = file
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, opts)), file, nil
	}
	return slog.New(slog.NewTextHandler(out, opts)), file, nil
}

// logFile appends to a file that may be moved away and opened again by its
// name. With no path it does nothing.
type logFile struct {
	path string

	mu sync.Mutex
	f  *os.File // guarded by mu
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(p)
}

// reopen begins the file anew, if it was moved away. On an error the old one
// goes on.
func (l *logFile) reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("the log file: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.f
	l.f = f
	if old == nil {
		return nil
	}
	return old.Close()
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	if err := l.f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
