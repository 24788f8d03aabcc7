apt-get install nginx redis-server python3-venv
useradd --system app
mkdir -p /srv/app/templates /etc/app
python3 -m venv /srv/app/.venv
/srv/app/.venv/bin/pip install gunicorn /path/to/the/clone
