package app

import (
	"log/slog"
	"reflect"

	"gatehouse/internal/config"
	"gatehouse/internal/embedding"
	"gatehouse/internal/gateway"
	"gatehouse/internal/web"
)

// vectors is where texts become vectors, with what it was made from. It survives a reload that does not touch it, with
// what it remembers.
type vectors struct {
	made   *config.Embeddings
	client *embedding.Client
}

// plan returns what the configuration asks for.
func (v vectors) plan(c *config.Config, log *slog.Logger) (vectors, error) {
	e := c.Embeddings
	if e == nil {
		return vectors{}, nil
	}
	if v.made != nil && reflect.DeepEqual(*v.made, *e) {
		return v, nil
	}
	client, err := embedding.New(embedding.Options{
		URL: e.URL, Key: e.APIKey, Model: e.Model, Dimensions: e.Dimensions, QueryTimeout: e.Timeout, Log: log,
		Client: web.NewClient(web.FenceAdmin, web.ClientOptions{Timeout: embedding.DefaultBatchTimeout}),
	})
	if err != nil {
		return vectors{}, err
	}
	return vectors{e, client}, nil
}

func (v vectors) embedder() gateway.Embedder {
	if v.client == nil {
		return nil
	}
	return v.client
}
