package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errForbidden is wrapped by the refusal of an address that a name led to.
var errForbidden = errors.New("a target's name must not lead there")

// dial resolves address once and connects to what it resolved, the first
// address that answers. A later lookup with another answer changes nothing
// (THREATS T13).
func (d *Dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("address %q: the port must be a number from 1 to 65535", address)
	}
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	dial := d.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	var errs []error
	for i, a := range addrs {
		share, cancel := shareOf(ctx, len(addrs)-i)
		c, err := dial(share, "tcp", net.JoinHostPort(a.String(), port))
		cancel()
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// addresses returns where host is. An address that the administrator wrote is
// taken as it stands. A name is not trusted as far: whoever answers for it must
// not be able to point the bastion at itself or at a cloud's metadata service.
func (d *Dialer) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	resolve := d.Resolve
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	found, err := resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	local := strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
	var good []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		if allowed(a) || local && a.IsLoopback() {
			good = append(good, a)
			continue
		}
		err = errors.Join(err, fmt.Errorf("%w: %s is %s (register the address itself if it is meant)", errForbidden, host, a))
	}
	if len(good) == 0 && err == nil {
		err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	if len(good) == 0 {
		return nil, err
	}
	return good, nil
}

// forbidden are ranges that no name may lead to, beside the ones that netip
// knows: "this network", broadcast, and metadata services that are not on a
// link-local address.
var forbidden = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
}

// allowed reports whether a name may lead to a.
func allowed(a netip.Addr) bool {
	if !a.IsValid() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return false
	}
	return !slices.ContainsFunc(forbidden, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

// shareOf gives one of n attempts its part of the time that is left.
func shareOf(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || n <= 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
}
