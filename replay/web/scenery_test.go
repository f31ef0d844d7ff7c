package web_test

import (
	"time"

	"sallyport/policy"
)

// scenery makes a few recordings that look like a working day, and returns the
// one to look at.
func (w *world) scenery() policy.SessionID {
	now := time.Now().UTC().Truncate(time.Second)
	w.mu.Lock()
	w.pace = 1700 * time.Millisecond
	w.mu.Unlock()
	grace := policy.User{Issuer: "https://idp", Subject: "5", Name: "Grace Hopper", Email: "grace@example.com"}
	const prompt = "\x1b[1;32mroot@db1\x1b[0m:\x1b[1;34m~\x1b[0m# "
	w.record(policy.Session{User: bob, Target: "web2", Login: "deploy", Action: policy.ActionExec,
		Command: "systemctl restart caddy && journalctl -u caddy -n 50 --no-pager", Start: now.Add(-26 * time.Hour)}, "ok\n")
	w.record(policy.Session{User: grace, Target: "db1", Login: "postgres", Start: now.Add(-3 * time.Hour)}, "postgres=# ")
	w.record(policy.Session{User: bob, Target: "web1", Login: "deploy", Action: policy.ActionSFTP, Command: "sftp", Start: now.Add(-50 * time.Minute)}, "")
	open := filled(policy.Session{User: grace, Target: "cache1", Login: "root", Start: now.Add(-2 * time.Minute)})
	if err := w.catalog.Begin(w.t.Context(), open); err != nil {
		w.t.Fatal(err)
	}
	return w.record(policy.Session{User: ada, Cols: 100, Rows: 26, Action: policy.ActionShell, TTY: true, Term: "xterm-256color",
		Key: "SHA256:8sWm9jVhB1tq3nC0bXyqvJ4mYQ0dZr5uV2kE7pLw1aI", Serial: 6402713894411203, Start: now.Add(-time.Minute)},
		"Linux db1 6.1.0-28-amd64 #1 SMP Debian 12\r\n\r\n",
		prompt+"uptime\r\n",
		" 14:02:11 up 41 days,  3:17,  1 user,  load average: 0.08, 0.11, 0.09\r\n",
		prompt+"systemctl --failed\r\n",
		"  UNIT               LOAD   ACTIVE SUB    DESCRIPTION\r\n",
		"\x1b[1;31m●\x1b[0m backup.service     loaded \x1b[1;31mfailed\x1b[0m failed Nightly backup to S3\r\n\r\n1 loaded units listed.\r\n",
		prompt+"cat /etc/backup.env\r\n",
		"AWS_ACCESS_KEY_ID="+secretKey+"\r\n",
		"BUCKET=db1-nightly\r\n",
		prompt+"journalctl -u backup -n 3 --no-pager\r\n",
		"Mar 01 02:00:03 db1 backup[8123]: dumping 14 databases\r\n",
		"Mar 01 02:11:40 db1 backup[8123]: \x1b[33mwarning: upload slow, retrying\x1b[0m\r\n",
		"Mar 01 02:15:02 db1 backup[8123]: \x1b[31merror: no space left on device\x1b[0m\r\n",
		prompt+"df -h /var/backups\r\n",
		"Filesystem      Size  Used Avail Use% Mounted on\r\n",
		"/dev/vdb1       200G  \x1b[1;31m200G     0 100%\x1b[0m /var/backups\r\n",
		prompt+"exit\r\nlogout\r\n")
}
