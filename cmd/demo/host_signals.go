package main

import (
	"slices"
	"syscall"
)

// namedSignal is a name of RFC 4254, section 6.10, and what it means here.
type namedSignal struct {
	name string
	sig  syscall.Signal
}

var signals = []namedSignal{
	{"ABRT", syscall.SIGABRT}, {"ALRM", syscall.SIGALRM}, {"FPE", syscall.SIGFPE}, {"HUP", syscall.SIGHUP},
	{"ILL", syscall.SIGILL}, {"INT", syscall.SIGINT}, {"KILL", syscall.SIGKILL}, {"PIPE", syscall.SIGPIPE},
	{"QUIT", syscall.SIGQUIT}, {"SEGV", syscall.SIGSEGV}, {"TERM", syscall.SIGTERM},
	{"USR1", syscall.SIGUSR1}, {"USR2", syscall.SIGUSR2},
}

func signalNamed(name string) syscall.Signal {
	for _, s := range signals {
		if s.name == name {
			return s.sig
		}
	}
	return 0
}

func signalName(sig syscall.Signal) string {
	i := slices.IndexFunc(signals, func(s namedSignal) bool { return s.sig == sig })
	if i < 0 {
		return "other@demo.invalid"
	}
	return signals[i].name
}
