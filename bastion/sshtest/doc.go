// Package sshtest has hosts and hostile clients for tests: Debian's own sshd
// (StartOpenSSH), a host inside the test's process (StartHost), and clients
// that say on the wire what no library would. Nothing but tests imports it.
package sshtest
