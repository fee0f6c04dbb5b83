package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Origin is scheme, host and port of a web address in its normal form (RFC 6454 §4): lower case, without the
// scheme's own port, without a path.
type Origin string

func parseOrigin(s string) (Origin, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "", errors.New("is not an origin such as https://tools.example.com")
	case u.User != nil:
		return "", errors.New("has a user name or password in it")
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#"):
		return "", errors.New("has something behind the host; it must be an origin only")
	case u.Hostname() == "" || strings.ContainsAny(u.Host, "*%_ ") || !validPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		return "", errors.New("does not have a proper host and port")
	}
	host := strings.ToLower(u.Host)
	if own := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; u.Port() == own[1:] {
		host = strings.TrimSuffix(host, own)
	}
	return Origin(u.Scheme + "://" + host), nil
}

func validPort(p string) bool {
	if p == "" {
		return true
	}
	n, err := strconv.ParseUint(p, 10, 16)
	return err == nil && n > 0
}

// URL returns the origin as a URL.
func (o Origin) URL() *url.URL {
	u, err := url.Parse(string(o))
	if err != nil {
		return &url.URL{}
	}
	return u
}

func (o Origin) isHTTPS() bool { return strings.HasPrefix(string(o), "https://") }

// splitListen checks an address to listen on.
func splitListen(s string) (host string, port uint16, err error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not an address with a port, such as 127.0.0.1:8080", s)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no port between 0 and 65535", s)
	}
	return host, uint16(n), nil
}

// ByteSize is a number of bytes.
type ByteSize int64

var byteUnits = [...]struct {
	name string
	size ByteSize
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func parseByteSize(s string) (ByteSize, error) {
	unit := ByteSize(1)
	number := s
	for _, u := range byteUnits {
		if before, ok := strings.CutSuffix(s, u.name); ok {
			unit, number = u.size, strings.TrimSpace(before)
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return ByteSize(n) * unit, nil
}

// String writes what the file would say.
func (b ByteSize) String() string {
	for _, u := range byteUnits {
		if b >= u.size && b%u.size == 0 {
			return fmt.Sprintf("%d%s", b/u.size, u.name)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
