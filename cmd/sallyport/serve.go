package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"sallyport/bastion"
	"sallyport/bastion/upstream"
	"sallyport/certs"
	"sallyport/policy"
	"sallyport/replay/web"
)

const (
	// upstreamCertLifetime is how long a certificate for a target is valid: it
	// is used at once, and the target checks it once.
	upstreamCertLifetime = 5 * time.Minute
	dialTimeout          = 10 * time.Second
	// gcPercent is how much garbage there may be for each byte in use.
	gcPercent = 30
	// shutdownGrace is how long live sessions have to end when the node stops.
	shutdownGrace = 5 * time.Second
)

func addConfigFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "configuration `FILE`")
	_ = cmd.MarkFlagRequired("config")
}

func serveCommand() *cobra.Command {
	var file string
	var o startOptions
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the bastion",
		Long: `Run the bastion and its web pages. SIGHUP loads the policy and the targets
again, and opens the log file again; what is bad stays out. SIGTERM ends live
sessions, seals their recordings and stops.

A ledger that is smaller than what a place outside remembers of it, or another
one, was rolled back or replaced, and the bastion does not start.
--accept-rollback starts all the same, for example after a restore from an older
backup; that becomes an entry of its own.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := LoadConfig(file)
			if err != nil {
				return err
			}
			log, logFile, err := newLogger(cfg.Log, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer logFile.Close()
			return serve(cmd.Context(), cfg, file, log, logFile, o)
		},
	}
	addConfigFlag(cmd, &file)
	cmd.Flags().BoolVar(&o.acceptRollback, "accept-rollback", false, "start with a ledger that was rolled back or replaced")
	return cmd
}

// serve runs until ctx ends or a listener fails.
func serve(ctx context.Context, cfg *Config, file string, log *slog.Logger, logFile *logFile, o startOptions) (err error) {
	if os.Getenv("GOGC") == "" {
		// Sessions are idle most of the time, and allocate little when they are
		// not: memory is worth more than the collector's time.
		debug.SetGCPercent(gcPercent)
	}
	hup := make(chan os.Signal, 1) // from the first moment on: SIGHUP would end the process
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	n, err := openNode(ctx, cfg, log, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	sshListener, err := net.Listen("tcp", cfg.SSH.Listen)
	if err != nil {
		return fmt.Errorf("ssh.listen: %w", err)
	}
	defer sshListener.Close()
	webListener, err := listenWeb(cfg.Web)
	if err != nil {
		return err
	}
	if webListener != nil {
		defer webListener.Close()
	}
	if err := n.enterStart(ctx, file); err != nil {
		return err
	}
	front, err := n.newBastion()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return front.Serve(ctx, sshListener) })
	if webListener != nil {
		g.Go(func() error { return n.serveWeb(ctx, webListener) })
	}
	g.Go(func() error {
		return onHangup(ctx, hup, func() {
			if err := logFile.reopen(); err != nil {
				log.Error("the log file cannot be opened again; the old one goes on", "error", err)
			}
			n.reload(ctx, file)
		})
	})
	n.housekeeping(ctx, g)
	stopPublishing := n.publish()
	defer stopPublishing()
	web := "off"
	if webListener != nil {
		web = webListener.Addr().String()
	}
	log.Info("ready", "ssh", sshListener.Addr().String(), "web", web, "url", cfg.Web.URL, "name", cfg.SSH.Name, "targets", len(cfg.Targets))
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, n.audit(context.WithoutCancel(ctx), policy.Entry{Kind: policy.EntryNodeStop}), n.lastCheckpoint(stopPublishing))
}

// enterStart enters that the node starts, and by which rules.
func (n *node) enterStart(ctx context.Context, file string) error {
	start := policy.Entry{Kind: policy.EntryNodeStart, Detail: map[string]string{"version": version}}
	for _, e := range []policy.Entry{start, n.configEntry(file)} {
		if err := n.audit(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// onHangup calls reload on every SIGHUP until ctx ends.
func onHangup(ctx context.Context, hup <-chan os.Signal, reload func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			reload()
		}
	}
}

func (n *node) newBastion() (*bastion.Server, error) {
	dialer := &upstream.Dialer{Timeout: dialTimeout, Log: n.log, Signer: n.upstreamSigner}
	return bastion.New(bastion.Config{
		HostKeys: func(ctx context.Context) ([]ssh.Signer, error) {
			return n.hostSigners(ctx, n.bastionNames()...)
		},
		TargetHostKeys: n.targetHostSigners,
		Lookup:         func(name string) (policy.Target, bool) { return n.targets.Load().lookup(name) },
		Targets:        func() []policy.Target { return n.targets.Load().list },
		Identify:       n.identify,
		SignIn:         n.startSignIn,
		Decide:         n.decide,
		OpenRecording:  n.openRecording,
		Connect: func(ctx context.Context, r bastion.ConnectRequest) (bastion.Upstream, error) {
			return dialer.Connect(ctx, upstream.Request{Target: r.Target, Login: r.Login, User: r.User, Connection: r.Connection})
		},
		Console:    n.console,
		Audit:      n.audit,
		Digests:    n.digests,
		Live:       n.live.begin,
		HelpSignIn: n.helpSignIn(),
		EnvAllow:   n.cfg.SSH.Env,
		Log:        n.log,
	})
}

func (n *node) helpSignIn() string {
	_, port, _ := net.SplitHostPort(n.cfg.SSH.Listen)
	if port == "22" {
		return "ssh " + n.cfg.SSH.Name
	}
	return "ssh -p " + port + " " + n.cfg.SSH.Name
}

func (n *node) upstreamSigner(ctx context.Context, r upstream.Request) (ssh.Signer, error) {
	return n.issuer.Target(ctx, certs.TargetRequest{User: r.User, Login: r.Login, Target: r.Target.Name,
		Connection: r.Connection, SourceAddress: n.cfg.sourceAddress(r.Local), TTL: upstreamCertLifetime})
}

func listenWeb(cfg WebConfig) (net.Listener, error) {
	if cfg.Listen == "off" {
		return nil, nil
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("web.listen: %w", err)
	}
	if cfg.TLS.Cert == "" {
		return l, nil
	}
	pair, err := newReloadingPair(cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("web.tls: %w", err)
	}
	return tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"h2", "http/1.1"}}), nil
}

// metricsHandler answers /metrics, or is nil where that is off.
func (n *node) metricsHandler() http.Handler {
	if n.cfg.Web.Metrics == "off" {
		return nil
	}
	return n.metrics.handler()
}

func (n *node) serveWeb(ctx context.Context, l net.Listener) error {
	handler, err := web.New(web.Config{Library: n.library, SignIn: n.idp, BaseURL: n.cfg.Web.URL, WellKnown: n.wellKnown(),
		Ready: n.ready, Metrics: n.metricsHandler(), MetricsAllow: n.cfg.metricsAllow(), Log: n.log, Allow: n.allowWeb, Still: n.stillWeb})
	if err != nil {
		return err
	}
	srv := web.Server(handler)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

// allowWeb judges a sign-in in the browser, and keeps who it was: also a user
// who is not let in, since what was bound or issued before is judged by the
// groups of now (THREATS T7).
func (n *node) allowWeb(ctx context.Context, u policy.User, source netip.Addr) error {
	if err := n.catalog.PutUser(ctx, u, time.Now()); err != nil {
		return err
	}
	e := policy.Entry{Kind: policy.EntrySignIn, User: &u, Source: source.String(), Detail: map[string]string{"via": "web"}}
	d := n.decide(policy.Request{User: u, Action: policy.ActionSignIn, Source: source})
	if !d.Allowed {
		e.Kind, e.Detail["reason"] = policy.EntrySignInFailed, d.Reason
	}
	if err := n.audit(ctx, e); err != nil {
		return err
	}
	if !d.Allowed {
		return &userError{fmt.Sprintf("%s is not allowed to sign in here.", u), errors.New(d.Reason)}
	}
	return nil
}

// stillWeb judges a request of somebody who signed in in the browser, as u.
// Whoever has signed in since with other groups, anywhere, has to do so here
// again: a session of hours must not keep what the provider has taken away.
func (n *node) stillWeb(u policy.User, source netip.Addr) policy.Decision {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	now, err := n.catalog.User(ctx, u.Principal())
	if err != nil {
		return policy.Decision{Reason: "denied: the user cannot be looked up: " + err.Error()}
	}
	if !sameClaims(u, now) {
		return policy.Decision{Reason: "denied: the user's claims are others than at this sign-in"}
	}
	return n.decide(policy.Request{User: u, Action: policy.ActionSignIn, Source: source})
}

// sameClaims compares what policies can ask about.
func sameClaims(a, b policy.User) bool {
	sorted := func(g []string) []string { return slices.Sorted(slices.Values(g)) }
	return a.Name == b.Name && a.Email == b.Email && slices.Equal(sorted(a.Groups), sorted(b.Groups))
}

// wellKnown is what anybody may know: the public halves of the authorities and
// of the ledger's key.
func (n *node) wellKnown() any {
	line := func(a *certs.Authority) string {
		return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(a.PublicKey())))
	}
	return map[string]any{"name": n.cfg.SSH.Name, "suffix": n.cfg.SSH.Suffix, "known_hosts": n.caLine(),
		"client_ca": line(n.cas.Client), "target_ca": line(n.cas.Target), "host_ca": line(n.cas.Host),
		"ledger_key": n.keys.ledgerKey}
}
