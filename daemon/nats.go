package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/tagship/tagship/daemon/config"
	"github.com/tagship/tagship/events"
	"github.com/tagship/tagship/events/bus"
	"go.uber.org/zap"
)

// NATS is the section nats of tagship.yaml, which every service reads.
type NATS struct {
	URL      string          `yaml:"url" default:"nats://127.0.0.1:4222" doc:"Where NATS answers; several addresses are separated by commas."`
	Creds    config.Secret   `yaml:"creds" doc:"The content of a credentials file, such as ${file:/etc/tagship/builder.creds}."`
	NKey     config.Secret   `yaml:"nkey" doc:"The seed of an nkey, instead of creds."`
	User     string          `yaml:"user" doc:"User name, instead of creds."`
	Password config.Secret   `yaml:"password" doc:"The user's password."`
	CA       string          `yaml:"ca" doc:"File with the certificates that the server's certificate is checked against, instead of the machine's own."`
	Cert     string          `yaml:"cert" doc:"File with the client's certificate."`
	Key      string          `yaml:"key" doc:"File with the key of the client's certificate."`
	Wait     events.Duration `yaml:"wait" default:"30s" doc:"How long to wait for NATS at the start before giving up."`
	Replicas int             `yaml:"replicas" default:"1" doc:"Copies of every stream and bucket: 1 for one server, 3 for a cluster."`
	Setup    bool            `yaml:"setup" default:"true" doc:"Whether services create and update streams and consumers. false where only 'tagship setup' may."`
	AckWait  events.Duration `yaml:"ack_wait" default:"60s" doc:"How long a message stays with a worker that gives no sign of life. The same for all services."`
	LogsAge  events.Duration `yaml:"logs_age" default:"336h" doc:"How long the output of the steps is kept."`
	LogsSize int64           `yaml:"logs_bytes" default:"1073741824" doc:"How much output of the steps is kept, in bytes."`
	Sources  events.Duration `yaml:"sources_age" default:"720h" doc:"How long the source of a version is kept for the builders. If it is needed later, tagwatch fetches it again. The same for all services."`
	Grace    events.Duration `yaml:"grace" default:"20s" doc:"How long steps in work may go on after the process was asked to stop."`
}

// Check reports settings that do not go together.
func (n *NATS) Check() error {
	ways := 0
	for _, given := range []bool{n.Creds != "", n.NKey != "", n.User != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return config.FieldError("creds", fmt.Errorf("only one of creds, nkey and user may be given"))
	case n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5:
		return config.FieldError("replicas", fmt.Errorf("is %d, expected 1, 3 or 5: an even number is lost with half of its servers", n.Replicas))
	case n.AckWait < events.Duration(time.Second):
		return config.FieldError("ack_wait", fmt.Errorf("is %s, expected at least 1s", n.AckWait))
	case n.Sources < events.Duration(time.Hour):
		return config.FieldError("sources_age", fmt.Errorf("is %s, expected at least 1h", n.Sources))
	case (n.Cert == "") != (n.Key == ""):
		return config.FieldError("cert", fmt.Errorf("cert and key go together"))
	}
	return nil
}

// Options turns the section into how the bus connects as a service.
func (n *NATS) Options(service string, log *zap.Logger) (bus.Options, error) {
	connection, err := n.connection()
	if err != nil {
		return bus.Options{}, err
	}
	return bus.Options{
		Service: service, Version: Version(), URL: n.URL, Wait: time.Duration(n.Wait), Grace: time.Duration(n.Grace),
		Connection: connection, Log: log,
		Topology: bus.Topology{
			Replicas: n.Replicas, Fixed: !n.Setup, AckWait: time.Duration(n.AckWait),
			LogsAge: time.Duration(n.LogsAge), LogsBytes: n.LogsSize,
			SourcesAge: time.Duration(n.Sources),
		},
	}, nil
}

func (n *NATS) connection() ([]nats.Option, error) {
	var options []nats.Option
	switch {
	case n.Creds != "":
		options = append(options, nats.UserCredentialBytes([]byte(n.Creds.Reveal())))
	case n.NKey != "":
		option, err := nkeyOption([]byte(n.NKey.Reveal()))
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	case n.User != "":
		options = append(options, nats.UserInfo(n.User, n.Password.Reveal()))
	}
	if n.CA == "" && n.Cert == "" {
		return options, nil
	}
	secure, err := n.tls()
	if err != nil {
		return nil, err
	}
	return append(options, nats.Secure(secure)), nil
}

func nkeyOption(seed []byte) (nats.Option, error) {
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("nats.nkey is not the seed of a user's nkey: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("nats.nkey: derive the public key: %w", err)
	}
	return nats.Nkey(public, pair.Sign), nil
}

func (n *NATS) tls() (*tls.Config, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if n.CA != "" {
		pem, err := os.ReadFile(n.CA)
		if err != nil {
			return nil, fmt.Errorf("read nats.ca: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("nats.ca: %s holds no certificate in PEM form", n.CA)
		}
	}
	if n.Cert != "" {
		pair, err := tls.LoadX509KeyPair(n.Cert, n.Key)
		if err != nil {
			return nil, fmt.Errorf("load nats.cert and nats.key: %w", err)
		}
		secure.Certificates = []tls.Certificate{pair}
	}
	return secure, nil
}
