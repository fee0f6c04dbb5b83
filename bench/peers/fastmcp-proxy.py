"""FastMCP as a proxy that checks tokens: signature, issuer, audience, expiry."""
from fastmcp.server import create_proxy
from fastmcp.server.auth.providers.jwt import JWTVerifier

auth = JWTVerifier(jwks_uri="KEYS", issuer="ISSUER", audience="AUDIENCE", jwks_refresh_interval=3600)
server = create_proxy("http://TARGET/", name="bench", auth=auth)
server.run(transport="http", host="HOST", port=int("PORT"), path="/mcp", log_level="error", show_banner=False, json_response=True)
