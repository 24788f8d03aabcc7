systemctl daemon-reload
systemctl enable --now redis-server app-sse app
nginx -t && systemctl reload nginx
